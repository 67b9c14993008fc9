# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker asks of a copy between the answer to its start and its first instruction.

As far as Docker knows it runs. runc knows nothing of it yet, so the runtime gives the answers, and asks the keeper for them:

``ps``    the one process: the placeholder, or the restored init under its pid. containerd asks for it when it has been started
          again, and would throw away a container without processes.
``kill``  somebody stops the copy: the relocation is called off. The original was never asked to stop, and runs on.
``exec``  a health check: it waits until the copy runs.
"""

from __future__ import annotations

import json
import os
import sys

from .keeper_client import GateFailed, KeeperClient, KeeperGone
from .runtime import Runtime

#: A restore that is not given up comes to its end within this time; its destination's own limits are shorter.
RUN_SECONDS = 600.0


def main() -> int:
    """Entry point, called by ``relocate-runtime`` with the arguments that Docker gave it; return the status of its command.

    Does not return when the answer is runc's.
    """
    runtime = Runtime(sys.argv[1:])
    keeper = KeeperClient(runtime.container)
    try:
        keeper.attach(0.0)
        if runtime.command == "ps":
            print(json.dumps([keeper.ask()["pid"]]))
            return 0
        if runtime.command == "kill":
            keeper.say("cancel", reason="Docker was told to stop the copy")
        keeper.expect("running", RUN_SECONDS)
    except (OSError, KeeperGone):
        pass  # it has come to its end meanwhile: runc knows the copy, or says that there is none
    except GateFailed as error:
        if runtime.command == "exec":
            print(f"the relocation to this host was given up: {error}", file=sys.stderr)
        return 1 if runtime.command == "exec" else 0
    finally:
        keeper.close()
    return os.execvp("runc", ["runc", *runtime.arguments])


if __name__ == "__main__":
    sys.exit(main())
