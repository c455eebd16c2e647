"""A libzmq publisher for the interop tests.

usage: pub.py ADDRESS [--connect] [--heartbeat-ms N] [--topic TOPIC]

Publishes (TOPIC or "pump", number) every 5 ms, and whatever standard input asks for, one line each:
    frames HEX [HEX ...]    one message of these frames ("-" is an empty one)
    big HEX SIZE            topic, body of SIZE times "x"
Prints "bound ADDRESS VERSION" when it is ready. Ends with its standard input.
"""
import os
import select
import sys
import zmq

address = sys.argv[1]
socket = zmq.Context().socket(zmq.PUB)
socket.setsockopt(zmq.LINGER, 0)
socket.setsockopt(zmq.SNDHWM, 0)
if "--heartbeat-ms" in sys.argv:
    interval = int(sys.argv[sys.argv.index("--heartbeat-ms") + 1])
    socket.setsockopt(zmq.HEARTBEAT_IVL, interval)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10 * interval)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 10 * interval)
topic = b"pump"
if "--topic" in sys.argv:
    topic = sys.argv[sys.argv.index("--topic") + 1].encode()
if "--connect" in sys.argv:
    socket.connect(address)
else:
    socket.bind(address)
print("bound", address, zmq.zmq_version(), flush=True)

number = 0
pending = b""
while True:
    readable, _, _ = select.select([0], [], [], 0.005)
    if readable:
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            command, *words = line.decode().split()
            if command == "frames":
                socket.send_multipart([b"" if word == "-" else bytes.fromhex(word) for word in words])
            elif command == "big":
                socket.send_multipart([bytes.fromhex(words[0]), b"x" * int(words[1])])
    else:
        number += 1
        socket.send_multipart([topic, str(number).encode()])
