"""Packages that bring data: whether they are installed, and where, without running their code."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Package"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package by its two names.

    Attributes:
        module: What it is imported as; a top-level name.
        pip: What it is installed as, with the version that is needed, if only one will do.
    """

    module: str
    pip: str

    def is_installed(self) -> bool:
        """Says whether it could be imported; does not import it."""
        return importlib.util.find_spec(self.module) is not None

    def folder(self, wanted_by: str) -> Path:
        """Returns the folder it is installed in; does not import it.

        Args:
            wanted_by: Who needs it, for the message.

        Raises:
            ModuleNotFoundError: If it is not installed; the message says how to get it.
        """
        # find_spec gives a top-level package's folder without running its code.
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise self.missing(wanted_by)
        return Path(spec.submodule_search_locations[0])

    def file(self, wanted_by: str, *parts: str) -> Path:
        """Returns a file inside it.

        Args:
            wanted_by: Who needs it, for the message.
            *parts: The file's path below the package's folder.

        Raises:
            ModuleNotFoundError: If the package is not installed.
            FileNotFoundError: If the file is not there, as in another version of the package.
        """
        path = self.folder(wanted_by).joinpath(*parts)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist, though {self.module} is installed; {wanted_by} reads "
                f'another version of it: run pip install "{self.pip}"'
            )
        return path

    def missing(self, wanted_by: str) -> ModuleNotFoundError:
        """Makes the error that says that it is not installed, and how to get it."""
        return ModuleNotFoundError(
            f"{wanted_by} needs the package {self.module}, which is not installed; "
            f'run: pip install "{self.pip}"',
            name=self.module,
        )
