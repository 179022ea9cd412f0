"""Entry point: `python job/main.py [train|plan|doctor|predict|watch|compare|report|models|features|…] …`.

`python -m job` and the installed command `ohlcv-models` come here, too.
"""

import gc
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
# Python puts job/ first on the path: the root stands there instead, so that the packages `job` and `transforms` are
# found from any folder, and no file in job/ shadows a library.
if sys.path and Path(sys.path[0]).resolve() == ROOT / "job":
    sys.path[0] = str(ROOT)

MODULES: Final = {"main.py": "python job/main.py", "__main__.py": "python -m job"}
"""How a run of each of these files is started; an installed command goes by its own name."""


def main() -> int:
    """Run the command that the arguments of this process ask for, and return its exit status."""
    try:
        from job.cli import main as run  # noqa: PLC0415 - takes a second, in which Ctrl-C is answered, too
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    gc.freeze()  # what was imported stays: no need to look through it for cycles again and again
    started_as = Path(sys.argv[0]).name
    return run(sys.argv[1:], program=MODULES.get(started_as, started_as))


if __name__ == "__main__":
    sys.exit(main())
