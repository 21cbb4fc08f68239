"""Launches runs: makes their objects, or finds them, and goes on where they are not whole."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from blocks.cluster.agent_process import confidential
from blocks.cluster.base import Secrets
from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.cluster.kubernetes.diagnosis import quota_trouble
from blocks.cluster.kubernetes.manifests import (
    Site,
    job_manifest,
    nas_ids,
    record_manifest,
    secret_manifests,
    service_manifest,
)
from blocks.cluster.kubernetes.names import ATTEMPT, Object, attempt_of, is_of, job_name, name_of, of_run, run_name
from blocks.cluster.kubernetes.plans import plan_of
from blocks.cluster.kubernetes.progress import phase_of, without_job
from blocks.cluster.kubernetes.quantities import requested
from blocks.cluster.kubernetes.queues import check_queue
from blocks.cluster.kubernetes.quotas import check_quotas
from blocks.cluster.kubernetes.record import RunRecord, record_of
from blocks.cluster.kubernetes.stopping import UPLOAD_SECONDS
from blocks.cluster.kubernetes.stores import check_stores
from blocks.cluster.kubernetes.view import JOBS, PODS, RECORDS, SERVICES, View
from blocks.cluster.kubernetes.writing import write
from blocks.domain.errors import ClusterUnavailableError, InvalidInputError
from blocks.domain.plan import RunPhase, RunPlan

GONE_SECONDS = 30.0
_UNOWNED: Object = {"metadata": {"name": "", "uid": ""}}


def check_image(image: str) -> None:
    """Refuse to run anything without the platform's own image.

    Raises:
        InvalidInputError: It is not set.
    """
    if not image:
        remedy = "Set it to the platform's container image, see the README."
        raise InvalidInputError("MAKERFLOW_IMAGE", "it is not set", remedy)


class Launching:
    """Makes what runs consist of.

    Args:
        api: The cluster.
        view: What is known of it.
        site: What manifests depend on.
        process: The environment of this process.
    """

    def __init__(self, api: Api, view: View, site: Site, process: Mapping[str, str]) -> None:
        self._api, self._view, self._site, self._process = api, view, site, process

    def launch(self, plan: RunPlan, secrets: Secrets) -> None:
        """Make a run, or find it."""
        self._check(plan, secrets)
        self._view.start()
        manifests = secret_manifests(plan, secrets, confidential(self._process), _UNOWNED)
        record = RunRecord.of(plan, len(manifests), requested(plan).vcpus)
        owner = self._api.create(record_manifest(plan, record.to_json()))
        if owner is None:
            self._launch_again(plan, secrets)
            return
        self._view.put(RECORDS, owner)
        try:
            if self._site.queue:  # only now: a namespace that is gone has no queue either, and says so at its record
                check_queue(self._api, self._site.queue)
            self._make(plan, secrets, record, owner)
        except (ApiError, InvalidInputError):
            self._api.delete(RECORDS, name_of(owner))
            self._view.drop(RECORDS, name_of(owner))
            raise

    def launch_job(self, record: RunRecord, owner: Object) -> None:
        """The Job of an attempt that follows another."""
        with self._queueing(record, owner):
            self._apply_job(plan_of(self._api, owner, record), record, owner)

    def _check(self, plan: RunPlan, secrets: Secrets) -> None:
        """Refuse what this cluster is not set up for, or has no room for ever."""
        check_image(self._site.image)
        if not plan.image.container:
            remedy = "Name its container in the catalogue's entry, or choose another image."
            raise InvalidInputError(f"The image {plan.image.name}", "it has no container for Kubernetes", remedy)
        unknown = [nas for nas in nas_ids(plan) if nas not in self._site.nas_volumes]
        if unknown:
            remedy = 'Name its volume in MAKERFLOW_NAS_VOLUMES, e.g. \'{"nas1": "claim:shared"}\'.'
            raise InvalidInputError(f"The NAS {unknown[0]}", "pods have no volume of it", remedy)
        check_stores(plan, secrets, self._process)
        check_quotas(self._api, plan)

    def _make(self, plan: RunPlan, secrets: Secrets, record: RunRecord, owner: Object) -> None:
        """All that a run consists of beside its record; what is there already stays."""
        with self._queueing(record, owner):
            for manifest in secret_manifests(plan, secrets, confidential(self._process), owner):
                self._api.create(manifest)
            if plan.workers > 1:
                self._view.put(SERVICES, self._api.apply(service_manifest(plan, owner)))
            self._apply_job(plan, record, owner)

    @contextmanager
    def _queueing(self, record: RunRecord, owner: Object) -> Iterator[None]:
        """Where a quota has no room for an object of it yet, say so; LOST, it is launched again by who follows it."""
        try:
            yield
        except ApiError as error:
            full = quota_trouble(error.message)
            if full is None or full.cause is not None:
                raise
            self._drop_earlier(record)
            if [each.reason for each in record.told("queued")][-1:] != [full.message]:
                write(self._api, self._view, owner, record.tell("queued", reason=full.message))

    def _drop_earlier(self, record: RunRecord) -> None:
        """Its own Jobs of earlier attempts, which have ended, may be what a quota of objects counts."""
        for job in self._view.seen(run_name(record.run_id)).jobs:
            if attempt_of(job) < record.attempt:
                self._api.delete(JOBS, name_of(job))

    def _apply_job(self, plan: RunPlan, record: RunRecord, owner: Object) -> None:
        manifest = job_manifest(
            plan,
            self._site,
            record.attempt,
            owner,
            deadline=record.deadline,
            now=time.time(),
            secrets=record.secrets,
        )
        try:
            self._view.put(JOBS, self._api.apply(manifest))
        except ApiError as error:
            there = self._api.get(JOBS, name_of(manifest)) if error.status == 422 else None
            if there is None or is_of(there, owner):
                raise
            raise ClusterUnavailableError(f"the Job {name_of(manifest)} of an earlier run is still there") from error

    def _launch_again(self, plan: RunPlan, secrets: Secrets) -> None:
        """Of a run that is there already: finish what was begun, or go on where its Job is gone."""
        run = run_name(plan.run_id)
        while True:
            owner = self._api.get(RECORDS, run)
            if owner is None:  # removed meanwhile
                self.launch(plan, secrets)
                return
            self._view.put(RECORDS, owner)
            record = record_of(owner)
            job = self._api.get(JOBS, job_name(plan.run_id, record.attempt))
            if record.is_over or (job is not None and is_of(job, owner)):
                return
            if record.seen < record.attempt:  # whoever launched it died before it came so far
                self._end_pods(run, record.attempt - 1, plan.stop_grace_seconds)
                self._make(plan, secrets, record, owner)
                return
            if phase_of(record, self._view.seen(run))[0] is not RunPhase.LOST:
                return  # its pods come to their end, and whoever follows it tells what that means
            after = without_job(record, time.time())
            written = write(self._api, self._view, owner, after)  # before they end: nobody takes it for the run's end
            if written is not None:
                self._end_pods(run, record.attempt, plan.stop_grace_seconds)
                if not after.is_over:
                    self.launch_job(after, written)
                return

    def _end_pods(self, run: str, attempt: int, grace_seconds: float) -> None:
        """Politely first: the next attempt goes on from what their sidecars upload by then."""
        for seconds in (grace_seconds + UPLOAD_SECONDS, 0.0):
            if self._view.seen(run).pods_of(attempt):
                self._api.delete_all(PODS, f"{of_run(run)},{ATTEMPT}={attempt}", grace_seconds=int(seconds))
                self._view.wait_until(lambda: not self._view.seen(run).pods_of(attempt), seconds or GONE_SECONDS)
