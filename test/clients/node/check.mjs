// Checks a running service from Node: upload, create, start, watch, list.
//
//   node check.mjs 127.0.0.1:7443 path/to/new.cer
//
// The tenants have to be imported already. It ends 0 if everything came as the
// contract says.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, reason, watch } from './client.mjs';

const [address, file] = process.argv.slice(2);
assert.ok(address && file, 'want an address and a certificate file');
const api = connect(address);

async function refused(call, want) {
  const err = await call.then(
    () => assert.fail(`was not refused, want ${want}`),
    (e) => e,
  );
  assert.equal(reason(err), want, err.message);
}

try {
  const tenants = await api.inventory.ListTenants({ page_size: 5 });
  assert.ok(tenants.tenants.length > 0, 'no tenants; import some first');
  console.log(`tenants: ${tenants.tenants.map((t) => t.name).join(', ')} …`);

  const uploaded = await api.certificates.UploadCertificate({ content: readFileSync(file) });
  const certificate = uploaded.certificate.name;
  console.log(`uploaded: ${certificate}`);

  // Nothing to replace: the new certificate is added and read back, and the
  // rotation ends without a wait.
  const request = {
    request_id: randomUUID(),
    rotation: {
      display_name: 'node',
      spec: { kind: 'acs-x509', certificate, target: { all_tenants: true }, reason: 'a check from Node' },
    },
  };
  const { rotation } = await api.rotations.CreateRotation(request);
  console.log(`created: ${rotation.name}`);
  const repeated = await api.rotations.CreateRotation(request);
  assert.equal(repeated.rotation.name, rotation.name, 'the same request_id made a second rotation');
  const other = structuredClone(request);
  other.rotation.display_name = 'another';
  await refused(api.rotations.CreateRotation(other), 'REQUEST_ID_REUSED');

  let planned, cursor;
  for await (const m of watch(api.rotations, rotation.name)) {
    planned = m.snapshot?.rotation ?? m.rotation ?? planned;
    cursor = m.cursor;
    if (planned.state !== 'STATE_PLANNING') break;
  }
  assert.equal(planned.state, 'STATE_PLANNED');
  console.log(`planned: ${planned.counts.total} tasks, digest ${planned.plan_digest}`);

  // A caller may have 64 watches at once; those that were left are none.
  for (let left = 0; left < 70; left++) {
    for await (const _ of watch(api.rotations, rotation.name)) break;
  }

  await refused(api.rotations.StartRotation({ name: rotation.name, plan_digest: 'f'.repeat(64) }), 'PLAN_CHANGED');
  const started = await api.rotations.StartRotation({ name: rotation.name, plan_digest: planned.plan_digest });
  assert.equal(started.rotation.state, 'STATE_RUNNING');

  // Goes on from the cursor of the watch that was left above.
  let last = started.rotation;
  const tasks = new Map();
  for await (const m of watch(api.rotations, rotation.name, { cursor, include_tasks: true })) {
    last = m.snapshot?.rotation ?? m.rotation ?? last;
    for (const k of m.tasks?.tasks ?? []) tasks.set(k.name, k);
  }
  assert.equal(last.state, 'STATE_SUCCEEDED', JSON.stringify(last.status_detail));
  assert.ok(tasks.size > 0, 'the watch told no task');
  console.log(`ended: ${last.state}, ${last.counts.succeeded} succeeded, ${last.counts.handed_over} handed over`);

  let listed = 0;
  let page_token = '';
  do {
    const page = await api.rotations.ListRotationTasks({
      parent: rotation.name, page_size: 10, page_token, filter: 'outcome = OUTCOME_SUCCEEDED',
    });
    for (const k of page.tasks) assert.equal(k.outcome, 'OUTCOME_SUCCEEDED');
    listed += page.tasks.length;
    page_token = page.next_page_token ?? '';
  } while (page_token);
  assert.equal(String(listed), last.counts.succeeded, 'listed and counted differ');
  const { rotations } = await api.rotations.ListRotations({ filter: 'display_name:"node"' });
  assert.ok(rotations.some((r) => r.name === rotation.name), 'the rotation is not listed');
  console.log(`listed: ${listed} tasks, ${rotations.length} rotations`);
  console.log('ok');
} finally {
  api.close();
}
