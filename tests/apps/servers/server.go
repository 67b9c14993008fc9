// A server in Go: the standard library's, with a number that all requests share.
// Copyright (c) 2026 The RELOCATE authors. SPDX-License-Identifier: GPL-3.0-or-later
package main

import (
	"fmt"
	"log"
	"net/http"
	"sync/atomic"
)

func main() {
	var count atomic.Int64
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		fmt.Fprintf(answer, "%s %d", request.URL.Query().Get("n"), count.Add(1))
	})
	log.Fatal(http.ListenAndServe(":8000", nil))
}
