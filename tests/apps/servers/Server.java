// A server in Java: the JDK's own, with a pool of threads and a number that all requests share.
// Copyright (c) 2026 The RELOCATE authors. SPDX-License-Identifier: GPL-3.0-or-later
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;

final class Server {
    public static void main(String[] arguments) throws IOException {
        AtomicLong count = new AtomicLong();
        HttpServer server = HttpServer.create(new InetSocketAddress(8000), 64);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> {
            String query = exchange.getRequestURI().getQuery();
            byte[] answer = (query.substring(2) + " " + count.incrementAndGet()).getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }
}
