-- What Makerflow 0.1.0 left in a registry of schema 0001, in the SQL of both databases.
INSERT INTO experiment (id, name, description, status, reason, created_us, changed_us)
VALUES ('exp-01m851tmrq04rankj8jac2z7wh', 'digits', 'Handwritten; it''s "quoted"', 'ACTIVE', 'made on the way', 1795466023709089, 1795466023714469);
INSERT INTO training (id, name, description, experiment_id, status, reason, tags, created_us, changed_us, started_us, ended_us)
VALUES ('trn-01m851tms59ezr1szcn437qsb3', 'first', 'the first', 'exp-01m851tmrq04rankj8jac2z7wh', 'COMPLETE', 'done', '
["team", "vision"]
', 1795466023717168, 1795466023739456, 1795466023728153, 1795466023739456);
INSERT INTO training (id, name, description, experiment_id, status, reason, tags, created_us, changed_us, started_us, ended_us)
VALUES ('trn-01m851tmsxtvawc29xfv21sc6z', 'second', '', 'exp-01m851tmrq04rankj8jac2z7wh', 'CREATE FAILED', 'no dataset', '
', 1795466023741391, 1795466023743044, NULL, NULL);
INSERT INTO training_document (training_id, spec, planned_us, plan, handle, event_cursor, log_cursors, reader_states, uploaded, logs_uploaded, points_refused, revision)
VALUES ('trn-01m851tms59ezr1szcn437qsb3', '{"name":"first","description":"the first","experiment":"default","algorithm":{"provided":"own","path":"s3://bucket/code","entry_point":"train.py","hyperparameters":[{"name":"lr","value":"0.1"}]},"instances":{"image":"python","flavor":"c1m2","workers":1},"inputs":{"datasets":[],"checkpoint":""},"outputs":{"path":"","checkpoint":""},"metrics":{"expressions":[],"all_workers":false},"limits":{"max_minutes":1440.0,"storage_gb":50,"log_management":false},"tags":[{"name":"team","value":"vision"}]}', 1795466023725607, '{"version":1,"run_id":"trn-01m851tms59ezr1szcn437qsb3","created":"2026-01-02T03:04:05.678901Z","labels":{},"workers":1,"resources":{"vcpus":1.0,"memory_mib":1,"gpus":0},"image":{"name":"python","python":"3.11","requirements":[],"container":""},"entry_point":"train.py","arguments":[],"hyperparameters":{},"environment":{},"inputs":[],"outputs":[],"storage_mib":1,"time_limit_seconds":1.0,"stop_grace_seconds":10.0,"restarts":{"budget":3,"out_of_memory":1},"logs":{"limit_mib":1024,"kept":false}}', '{"cluster":"local","run_id":"trn-01m851tms59ezr1szcn437qsb3"}', 3, '{"0": 99}', '{"0": {"step": 2}}', '[]', FALSE, 0, 1);
INSERT INTO training_document (training_id, spec, planned_us, plan, handle, event_cursor, log_cursors, reader_states, uploaded, logs_uploaded, points_refused, revision)
VALUES ('trn-01m851tmsxtvawc29xfv21sc6z', '{"name":"second","description":"","experiment":"default","algorithm":{"provided":"tabular","path":"","entry_point":"","hyperparameters":[{"name":"target","value":"y"}]},"instances":{"image":"python","flavor":"c1m2","workers":1},"inputs":{"datasets":[],"checkpoint":""},"outputs":{"path":"","checkpoint":""},"metrics":{"expressions":[],"all_workers":false},"limits":{"max_minutes":1440.0,"storage_gb":50,"log_management":false},"tags":[]}', NULL, NULL, NULL, 0, '{}', '{}', '[]', FALSE, 0, 0);
INSERT INTO training_tag (training_id, name, value, value_hash)
VALUES ('trn-01m851tms59ezr1szcn437qsb3', 'team', 'vision', -1831357314126987417);
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (1, 'exp-01m851tmrq04rankj8jac2z7wh', 1795466023709089, '', 'CREATE REQUESTED', '');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (2, 'exp-01m851tmrq04rankj8jac2z7wh', 1795466023712395, 'CREATE REQUESTED', 'CREATE IN PROGRESS', 'made on the way');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (3, 'exp-01m851tmrq04rankj8jac2z7wh', 1795466023714469, 'CREATE IN PROGRESS', 'ACTIVE', 'made on the way');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (4, 'trn-01m851tms59ezr1szcn437qsb3', 1795466023717168, '', 'CREATE REQUESTED', '');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (5, 'trn-01m851tms59ezr1szcn437qsb3', 1795466023722880, 'CREATE REQUESTED', 'CREATE IN PROGRESS', '');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (6, 'trn-01m851tms59ezr1szcn437qsb3', 1795466023728153, 'CREATE IN PROGRESS', 'RUNNING', '');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (7, 'trn-01m851tms59ezr1szcn437qsb3', 1795466023737370, 'RUNNING', 'COMPLETE IN PROGRESS', 'done');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (8, 'trn-01m851tms59ezr1szcn437qsb3', 1795466023739456, 'COMPLETE IN PROGRESS', 'COMPLETE', '');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (9, 'trn-01m851tmsxtvawc29xfv21sc6z', 1795466023741391, '', 'CREATE REQUESTED', '');
INSERT INTO status_move (id, resource_id, at_us, source, target, reason)
VALUES (10, 'trn-01m851tmsxtvawc29xfv21sc6z', 1795466023743044, 'CREATE REQUESTED', 'CREATE FAILED', 'no dataset');
INSERT INTO metric_series (id, training_id, name, stride, kept, count, not_finite, first_value, first_step, last_value, last_step, last_text, last_at_us, last_rank, min_value, min_step, max_value, max_step)
VALUES (1, 'trn-01m851tms59ezr1szcn437qsb3', 'loss', 1, 2, 2, 0, 1.0, 1, 0.5, 2, '0.5', 1767323045678901, 0, 0.5, 2, 1.0, 1);
INSERT INTO metric_point (series_id, position, step, value, text, at_us, rank)
VALUES (1, 0, 1, 1.0, '1.0', 1767323045678901, 0);
INSERT INTO metric_point (series_id, position, step, value, text, at_us, rank)
VALUES (1, 1, 2, 0.5, '0.5', 1767323045678901, 0);
INSERT INTO flow_run (id, started_us, ended_us, exported_us, record)
VALUES ('run-1', 1767323045678901, 1767323045678901, NULL, '{"id":"run-1","flow_name":"create-training","name":"first","parameters":{"spec":{"name":"first"}},"state":"COMPLETED","message":"","started":"2026-01-02T03:04:05.678901Z","ended":"2026-01-02T03:04:05.678901Z","steps":[],"artifacts":{}}');
INSERT INTO connection (name, endpoint, created_us)
VALUES ('store', 'store.example:9000', 1795466023747545);
