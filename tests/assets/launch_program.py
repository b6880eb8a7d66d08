"""A launched job for tests: ``python -m tests.assets.launch_program JOBDIR``.

By ``parameters["mode"]``: ``publish`` writes the artifact at once; ``wait`` first waits for JOBDIR/go, with
a grandchild below it that ignores TERM; ``loud`` says 200 kB first; ``silent`` ends without publishing;
``fail`` ends with status 3.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from resources.job_folder import report_progress
from resources.store import Store

GRANDCHILD = (
    "import os,signal,sys,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);"
    "open(sys.argv[1],'w').write(str(os.getpid()));time.sleep(600)"
)


def main() -> int:
    job = Path(sys.argv[1])
    spec = json.loads((job / "spec.json").read_text())
    mode = spec["parameters"]["mode"]
    with (job / "starts").open("a") as starts:
        starts.write("start\n")
    if mode == "wait":
        subprocess.Popen([sys.executable, "-c", GRANDCHILD, str(job / "grandchild")], start_new_session=True)
        report_progress(job, "wait", 1, 2, "steps", "for the word go")
        while not (job / "go").exists():
            time.sleep(0.05)
    if mode == "loud":
        for _ in range(200):
            print("x" * 1023)
    if mode == "fail":
        print("the cause of it all", flush=True)
        return 3
    if mode == "silent":
        return 0
    store = Store.open(spec["store"])
    with store.writer(
        spec["artifact"],
        inputs=spec["inputs"],
        parameters=spec["parameters"],
        code_version=spec["code_version"],
        key=spec["key"],
        run=spec["run"],
        promote=False,
    ) as writer:
        writer.add("text.txt", f"made in mode {mode}".encode())
    with (job / "publications").open("a") as publications:
        publications.write("published\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
