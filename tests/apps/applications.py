# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real applications of ``make apps``: how each is run, who asks it, and how its data are checked in the end.

All are of one image with Debian's packages (``build-root``), and listen on port 8000 in their container.
"""

from __future__ import annotations

from dataclasses import dataclass

PORT = 8000
#: For what has much memory: the limit is put aside here, so that nothing else would make ``auto`` take a short pause.
FAST = ("--prefer", "pause")
POSTGRESQL = "/usr/lib/postgresql/17/bin"
SUMS = (
    "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history) and "
    "(select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history) and "
    "(select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)"
)
NGINX = """
user www-data; worker_processes 4; daemon off; pid /tmp/nginx.pid; error_log stderr;
events { worker_connections 256; }
http {
    access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
    server {
        listen 8000 ssl; ssl_certificate /tmp/cert; ssl_certificate_key /tmp/key;
        location = / { return 200 here; }
        location = /large { alias /large; }
    }
}
"""
HAPROXY = """
global
    nbthread 4
defaults
    mode http
    timeout client 1h
    timeout http-keep-alive 1h
    timeout server 1h
    timeout connect 5s
frontend all
    bind :8000
    http-request return status 200 content-type text/plain string here
"""
#: One statement a line: MariaDB takes no more.
USER = """create database if not exists test;
create user walker@'%' identified by 'walker';
grant all on test.* to walker@'%';
"""
SUPERVISOR = """
[supervisord]
nodaemon=true
user=root
logfile=/dev/null
logfile_maxbytes=0
[unix_http_server]
file=/run/supervisor.sock
[supervisorctl]
serverurl=unix:///run/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:server]
command=/opt/servers/c-server
[program:memcached]
command=memcached -u nobody -p 8001
[program:cron]
command=cron -f
"""


@dataclass(frozen=True)
class Application:
    """One container.

    :ivar command: of the container, for a shell; it ends in ``exec``.
    :ivar loads: its clients: each a kind of ``loads.py`` with its arguments; ``ROOT`` stands for the image's root directory.
    :ivar options: of ``docker run``. :ivar protocols: that are published.
    :ivar setup: a command that is run in the clients' place when the application answers; ``PLACE`` is ``-h ADDRESS -p PORT``.
    :ivar busy: commands that run there all the time. :ivar verify: run in the container in the end: it fails if data are wrong.
    :ivar move: options of ``relocate move``. :ivar ready: asks, in the container, whether it can be used.
    """

    name: str
    command: str
    loads: tuple[tuple[str, ...], ...]
    options: str = ""
    protocols: tuple[str, ...] = ("tcp",)
    setup: str = ""
    busy: tuple[str, ...] = ()
    verify: str = ""
    move: tuple[str, ...] = ()
    ready: str = f"ss -ltnH | grep -q :{PORT}"


def written(path: str, text: str) -> str:
    """Return the shell command that writes a file."""
    return f"cat >{path} <<'END'\n{text}END\n"


APPLICATIONS = (
    Application(
        "redis",
        "exec redis-server --port 8000 --protected-mode no --appendonly yes --dir /data",
        (("redis",),),
        options="-v apps-redis:/data",
        busy=("redis-benchmark PLACE -c 20 -l -q -t set,get,lpush -r 10000",),
        verify="redis-cli -p 8000 config set appendonly no && redis-check-aof /data/appendonlydir/*.manifest",
    ),
    Application(
        "postgresql",
        f"mkdir -p /data/pg && chown postgres /data/pg && export PATH={POSTGRESQL}:$PATH && as='setpriv --reuid=postgres "
        "--regid=postgres --init-groups' && $as initdb -D /data/pg -A trust >/dev/null && "
        "echo 'host all all all trust' >>/data/pg/pg_hba.conf && "
        "exec $as postgres -D /data/pg -h '*' -p 8000 -k /tmp",
        (("postgresql", "ROOT"),),
        options="-v apps-postgresql:/data",
        move=FAST,
        setup=f"{POSTGRESQL}/pgbench PLACE -U postgres -q -i -s 5 postgres",
        busy=(f"{POSTGRESQL}/pgbench PLACE -U postgres -n -c 4 -R 100 -T 36000 --exit-on-abort postgres",),
        verify=f"psql -h /tmp -p 8000 -U postgres -Atc '{SUMS}' | grep -qx t && "
        f"{POSTGRESQL}/pg_amcheck -h /tmp -p 8000 -U postgres --install-missing --heapallindexed postgres",
        ready="pg_isready -h /tmp -p 8000 && sleep 1 && pg_isready -h /tmp -p 8000",
    ),
    Application(
        "mariadb",
        "mkdir -p /data/db && chown mysql /data/db && mariadb-install-db --user=mysql --datadir=/data/db >/dev/null && "
        + written("/tmp/init.sql", USER)
        + "exec mariadbd --user=mysql --datadir=/data/db --bind-address=0.0.0.0 --port=8000 --socket=/tmp/db.sock "
        "--pid-file=/tmp/db.pid --init-file=/tmp/init.sql",
        (("mariadb", "ROOT"),),
        options="-v apps-mariadb:/data",
        move=FAST,
        verify="mariadb-check --socket=/tmp/db.sock --all-databases --extended",
    ),
    Application(
        "nginx, 4 workers, TLS",
        written("/tmp/nginx.conf", NGINX)
        + "openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/key -out /tmp/cert -subj /CN=x -days 9 2>/dev/null; "
        "head -c 48M /dev/urandom >/large; exec nginx -c /tmp/nginx.conf",
        (("web", "tls", "static"), ("web", "tls", "static"), ("download",)),
    ),
    Application(
        "haproxy", written("/tmp/h", HAPROXY) + "exec haproxy -f /tmp/h", (("web", "static"), ("web", "static"))
    ),
    Application(
        "sshd, an interactive session",
        "mkdir -p /run/sshd; exec /usr/sbin/sshd -D -p 8000 -o PermitRootLogin=prohibit-password",
        (("shell", "ROOT"),),
    ),
    Application("memcached", "exec memcached -u nobody -p 8000", (("memcached",),)),
    Application("nats", "exec nats-server -p 8000", (("nats",),)),
    Application(
        "dnsmasq, UDP and TCP",
        "exec dnsmasq -k -p 8000 --no-resolv --no-hosts --address=/lan/192.0.2.7 --user=root",
        (("names", "udp"), ("names", "tcp")),
        protocols=("tcp", "udp"),
    ),
    Application("C, threads", "exec /opt/servers/c-server", (("lines",),)),
    Application("Go", "exec /opt/servers/go-server", (("web",),)),
    Application("Java", "exec java -cp /opt/servers Server", (("web",),)),
    Application("Node", "exec node /opt/servers/server.js", (("web",),)),
    Application(
        "Python, asyncio: HTTP, WebSocket, server-sent events",
        "exec python3 /opt/servers/server_asyncio.py",
        (("web", "shared"), ("websocket",), ("events",)),
    ),
    Application("Python, threads", "exec python3 /opt/servers/server_threads.py", (("web",),)),
    Application(
        "Python, gunicorn with 4 workers",
        "cd /opt/servers && exec gunicorn -w 4 -k gthread --threads 4 --keep-alive 3600 -b 0.0.0.0:8000 server_forks:app",
        (("web", "shared"), ("web", "shared")),
    ),
    Application(
        "supervisord with cron, memcached and a server",
        written("/etc/crontab", "* * * * * root date >>/minutes; sleep 20; echo done >>/minutes\n")
        + written("/tmp/supervisor.conf", SUPERVISOR)
        + "exec supervisord -c /tmp/supervisor.conf",
        (("lines",),),
        verify="test $(supervisorctl -c /tmp/supervisor.conf status | grep -c RUNNING) = 3 || exit 1; "
        "for i in $(seq 90); do grep -q done /minutes && exit; sleep 1; done; exit 1",
    ),
    Application("a writer of 50 MB/s", "exec python3 /opt/servers/server_writer.py", (("lines",),)),
)
