// A client of crossfade.v1 in Node, made from the .proto files at run time.
// There is no code to generate.

import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const protos = fileURLToPath(new URL('../../../proto', import.meta.url));

// How long one call may take. A watch has no such bound; it ends by itself.
const callTimeout = 30_000;

// connect returns three of the services as objects whose methods return promises.
export function connect(address, credentials = grpc.credentials.createInsecure()) {
  const definition = loader.loadSync(
    ['rotation', 'inventory', 'certificate'].map((f) => `crossfade/v1/${f}.proto`),
    // 64-bit numbers as text, since a Number would cut them; enums by name; what
    // is absent stays absent.
    { includeDirs: [protos], keepCase: true, longs: String, enums: String, oneofs: true },
  );
  const { crossfade } = grpc.loadPackageDefinition(definition);
  const open = [];
  const service = (Service) => {
    const client = new Service(address, credentials);
    open.push(client);
    const promised = (method) => (request) =>
      new Promise((resolve, reject) => {
        client[method](request, { deadline: Date.now() + callTimeout }, (err, answer) =>
          err ? reject(err) : resolve(answer),
        );
      });
    const out = { raw: client };
    for (const [method, d] of Object.entries(Service.service)) {
      if (!d.responseStream && !d.requestStream) out[method] = promised(method);
    }
    return out;
  };
  return {
    rotations: service(crossfade.v1.RotationService),
    inventory: service(crossfade.v1.InventoryService),
    certificates: service(crossfade.v1.CertificateService),
    close: () => open.forEach((c) => c.close()),
  };
}

// Reasons after which the same watch goes on at its last cursor.
const again = new Set([grpc.status.UNAVAILABLE, grpc.status.RESOURCE_EXHAUSTED, grpc.status.INTERNAL]);

// watch yields the messages of a rotation until it ends, and takes the stream up
// again from the last cursor when it breaks, at most ten times in a row. Whoever
// leaves the loop before the end ends the stream by it.
export async function* watch(rotations, name, { cursor = '', include_tasks = false } = {}) {
  for (let breaks = 0; ; ) {
    const stream = rotations.raw.WatchRotation({ name, cursor, include_tasks });
    try {
      for await (const message of stream) {
        cursor = message.cursor;
        breaks = 0;
        yield message;
      }
      return;
    } catch (err) {
      if (!again.has(err.code) || ++breaks > 10) throw err;
      await new Promise((resume) => setTimeout(resume, 200 * breaks));
    } finally {
      // A stream that nobody reads any more is open until it is cancelled, and counts
      // among the caller's watches. That it was cancelled comes as its error.
      stream.on('error', () => {});
      stream.cancel();
    }
  }
}

// reason returns the ErrorInfo reason of an error, such as "PLAN_CHANGED". It
// reads the few fields of google.rpc.Status that it needs by hand, so that no
// further .proto file is wanted.
export function reason(err) {
  const bytes = err?.metadata?.get('grpc-status-details-bin')?.[0];
  if (!bytes) return undefined;
  for (const detail of fieldsOf(bytes, 3)) {
    const [type] = fieldsOf(detail, 1);
    const [value] = fieldsOf(detail, 2);
    if (type?.toString() === 'type.googleapis.com/google.rpc.ErrorInfo') return fieldsOf(value, 1)[0]?.toString();
  }
  return undefined;
}

// fieldsOf returns the length-delimited fields with a number.
function fieldsOf(buffer, number) {
  const out = [];
  for (let at = 0; at < buffer.length; ) {
    let tag, length;
    [tag, at] = varint(buffer, at);
    if ((tag & 7) === 0) {
      [, at] = varint(buffer, at);
      continue;
    }
    if ((tag & 7) !== 2) throw new Error(`wire type ${tag & 7} in a status`);
    [length, at] = varint(buffer, at);
    if (tag >>> 3 === number) out.push(buffer.subarray(at, at + length));
    at += length;
  }
  return out;
}

function varint(buffer, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = buffer[at++];
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return [value >>> 0, at];
  }
}
