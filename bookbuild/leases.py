"""Two sweeps over one store share the work: a run that one of them has taken, the other leaves.

A lease is a lock on one byte of one file, at an offset that the run's key names. It ends with the
process that holds it, however that dies, so there is nothing to clean up. The store needs no lease
to stay whole, since files come into it by rename; a lease only saves doing the same work twice.
"""

import errno
import fcntl
from pathlib import Path

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class Leases:
    """The leases of this process on the runs of one notebook in one store."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # POSIX drops a process's locks when it closes any handle of the file: there is one handle.
        self.file = (folder / ".leases").open("ab")

    def take(self, key: str) -> bool:
        """True if the run is now ours; also where the file system knows no locks."""
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(key))
        except OSError as error:
            return error.errno in _NO_LOCKS
        return True

    def release(self, key: str) -> None:
        """Give the run back, done or not."""
        try:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, _offset(key))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def close(self) -> None:
        """Give back everything."""
        self.file.close()


def _offset(key: str) -> int:
    return int(key[:15], 16)  # 60 bits; files have 63, and two runs do not meet in 60
