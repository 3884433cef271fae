"""The git commands of the runner: the clone, the workspace, and the change."""
