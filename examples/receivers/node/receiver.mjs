// A webhook receiver on Node's own modules: no packages to install.
//
//   WEBHOOK_SECRET=whsec_… node receiver.mjs
//
// PORT (9000) and SIGNATURE_HEADER (X-Webhook-Signature) can be set too.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const secret = process.env.WEBHOOK_SECRET;
const header = (process.env.SIGNATURE_HEADER ?? 'X-Webhook-Signature').toLowerCase();
const port = Number(process.env.PORT ?? 9000);
const maxBody = 1 << 20; // bytes; four times what Tellhook sends at most

if (!secret) {
  console.error('set WEBHOOK_SECRET to the secret that you got when you created the webhook');
  process.exit(2);
}

// The signature covers the body's bytes as they came: verify before parsing.
function verified(rawBody, signature) {
  const expected = Buffer.from(createHmac('sha256', secret).update(rawBody).digest('hex'));
  const given = Buffer.from(signature ?? '');
  // timingSafeEqual throws on buffers of different lengths.
  return given.length === expected.length && timingSafeEqual(given, expected);
}

async function read(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > maxBody) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function answer(response, status, text) {
  response.writeHead(status, { 'Content-Type': 'text/plain' }).end(text + '\n');
}

const server = createServer(async (request, response) => {
  try {
    const rawBody = await read(request);
    if (rawBody === null) {
      response.setHeader('Connection', 'close');
      return answer(response, 413, 'body too large');
    }
    if (!verified(rawBody, request.headers[header])) {
      console.log('401 signature does not match');
      return answer(response, 401, 'invalid signature');
    }
    const event = JSON.parse(rawBody);
    console.log(`200 ${event.event} ${event.event_id} ${JSON.stringify(event.data)}`);
    // Answer first and work later: a delivery is given up after 10 seconds.
    answer(response, 200, 'ok');
  } catch (error) {
    console.log(`400 ${error.message}`);
    answer(response, 400, 'not a JSON body');
  }
});

server.listen(port, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
