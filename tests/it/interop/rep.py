"""A libzmq replay endpoint for the tests, with the answers of the store that comes with fedmsg.

usage: rep.py TOPIC

Has every message with an even number. Prints "bound ADDRESS" when it is ready. Ends with its standard input.
"""
import json
import sys
import zmq

socket = zmq.Context().socket(zmq.REP)
socket.setsockopt(zmq.LINGER, 0)
socket.setsockopt(zmq.HEARTBEAT_IVL, 10)
port = socket.bind_to_random_port("tcp://127.0.0.1")
print("bound tcp://127.0.0.1:%d" % port, flush=True)

poller = zmq.Poller()
poller.register(socket, zmq.POLLIN)
poller.register(0, zmq.POLLIN)
while True:
    ready = dict(poller.poll())
    if 0 in ready:
        break
    question = json.loads(socket.recv())
    if "seq_ids" not in question:
        socket.send(b"error: 'Unsupported field: \"key\"'")
        continue
    numbers = [number for number in question["seq_ids"] if number % 2 == 0]
    if not numbers:
        socket.send(b"error: 'There was no match for the given query'")
        continue
    socket.send_multipart([
        json.dumps({"topic": sys.argv[1], "msg": {}, "seq_id": number}).encode() for number in numbers
    ])
