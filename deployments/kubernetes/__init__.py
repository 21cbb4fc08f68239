"""The platform on Kubernetes: its image, what its containers run, and the manifests of both."""
