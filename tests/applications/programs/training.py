"""Trains a small network on made-up data; a line of the log is the step and a digest of all weights.

With a third argument it ends after so many steps.
"""

import hashlib
import sys
import time

import numpy

generator = numpy.random.default_rng(7)
inputs = generator.standard_normal((4096, 64))
targets = numpy.sin(inputs.sum(axis=1, keepdims=True))
weights = [generator.standard_normal((64, 128)) / 8, generator.standard_normal((128, 1)) / 11]
moments = [numpy.zeros_like(one) for one in weights]
last = int(sys.argv[3]) if len(sys.argv) > 3 else -1
step = 0
with open(sys.argv[1], "a", encoding="utf-8") as log:
    while step != last:
        step += 1
        batch = generator.integers(0, len(inputs), 256)
        hidden = numpy.tanh(inputs[batch] @ weights[0])
        error = hidden @ weights[1] - targets[batch]
        back = (error @ weights[1].T) * (1 - hidden ** 2)
        for layer, gradient in enumerate((inputs[batch].T @ back, hidden.T @ error)):
            moments[layer] = 0.9 * moments[layer] + gradient / len(batch)
            weights[layer] -= 0.01 * moments[layer]
        digest = hashlib.sha256(b"".join(one.tobytes() for one in weights)).hexdigest()
        log.write(f"{step} {digest}\n")
        log.flush()
        time.sleep(float(sys.argv[2]))
