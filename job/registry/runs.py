"""Where the files of a run stand below `runs/`."""


def record_path(run_id: str) -> str:
    """Return where the record of a run stands."""
    return f"runs/{run_id}.json"


def events_path(run_id: str, part: int = 0) -> str:
    """Return where the event log of a run stands, on object stores a part of it."""
    return f"runs/{run_id}/events-{part:05d}.jsonl" if part else f"runs/{run_id}.events.jsonl"


def open_marker(run_id: str) -> str:
    """Return the empty file that is there while a run's record is not closed, so that a listing shows such runs."""
    return f"runs/{run_id}.open"


def attempts_folder(run_id: str) -> str:
    """Return where workers say what they are about to do; the folder is removed with the run."""
    return f"runs/{run_id}.attempts"
