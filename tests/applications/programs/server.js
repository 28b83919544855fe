// An HTTP server with state in memory and a worker thread that counts.
const http = require('http');
const { Worker } = require('worker_threads');

let ticks = 0;
const worker = new Worker(
  'const { parentPort } = require("worker_threads"); setInterval(() => parentPort.postMessage(1), 5);',
  { eval: true });
worker.on('message', () => { ticks += 1; });
const kept = new Map();
http.createServer((request, response) => {
  const [, verb, key, value] = request.url.split('/');
  if (verb === 'set') kept.set(key, value);
  const answer = verb === 'ticks' ? ticks : verb === 'size' ? kept.size : kept.get(key);
  response.end(String(answer));
}).listen(Number(process.argv[2]), '0.0.0.0');
