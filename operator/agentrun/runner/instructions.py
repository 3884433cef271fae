"""Writes a profile's instruction files to the paths where agents read them by default."""

from collections.abc import Sequence

from agentrun.api.v1alpha1 import InstructionFile, Reason
from agentrun.backends import backend_of
from agentrun.runner.folders import Folder, OutsideFolderError
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError


def write_instructions(layout: Layout, backend: str, files: Sequence[InstructionFile]) -> None:
    """Write the files into the agent's home. Raises AttemptError for one that cannot be written."""
    for file in files:
        path = file.path or backend_of(backend).instructions_path
        if path is None:
            raise _invalid(f"An instruction file for backend {backend} needs a path.")
        path = "/".join(part for part in path.split("/") if part)
        try:
            text = _text(layout, file)
            with Folder.at(layout.home, make=True) as home:
                _check(home, path)
                home.replace(path, text.encode())
        except OutsideFolderError as error:
            message = (
                f"Instruction file {path} would be outside the agent's home: its path contains a"
                " link."
            )
            raise _invalid(message) from error
        except (OSError, UnicodeDecodeError) as error:
            raise _invalid(f"Instruction file {path} cannot be written: {error}") from error


def _check(home: Folder, path: str) -> None:
    """Raise OutsideFolderError if a parent folder is a link, which the agent may have made."""
    above = path.rpartition("/")[0]
    if "/".join(home.resolve(above)) != above:
        raise OutsideFolderError(path)


def _text(layout: Layout, file: InstructionFile) -> str:
    source = file.config_map
    if source is None:
        return file.text or ""
    mounted = layout.instructions / source.name / source.key
    if not mounted.is_file():
        raise _invalid(
            f"ConfigMap {source.name}, key {source.key}, is not in the pod: the profile has"
            " changed since the pod was made. Start the run again."
        )
    return mounted.read_text(encoding="utf-8")


def _invalid(message: str) -> AttemptError:
    return AttemptError(Reason.PROFILE_INVALID, message)
