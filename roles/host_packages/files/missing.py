# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the packages whose commands and Python modules this host lacks, and Python's own version, as JSON.

Runs on targets by ``python3 -c``: standard library only, Python 3.6 is enough to be told that it is too old.
"""

import importlib.util
import json
import shutil
import sys

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

wanted = json.loads(sys.argv[1])
missing = {package for command, package in wanted["commands"].items() if shutil.which(command, path=PATH) is None}
missing |= {package for module, package in wanted["modules"].items() if importlib.util.find_spec(module) is None}
print(json.dumps({"missing": sorted(missing), "python": sys.version.split()[0]}))
