// A server in JavaScript: Node's own, with a number that all requests share.
// Copyright (c) 2026 The RELOCATE authors. SPDX-License-Identifier: GPL-3.0-or-later
const http = require('node:http')
let count = 0
const server = http.createServer((request, answer) => {
  count += 1
  answer.end(`${new URL(request.url, 'http://x').searchParams.get('n')} ${count}`)
})
server.keepAliveTimeout = 0 // for ever
server.listen(8000)
