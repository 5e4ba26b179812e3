// Checks the door for browsers with clients that are not ours: a Connect client in Node,
// curl, and a page in a headless Chromium that lives through a kill of the service.
//
//   node check.mjs CROSSFADE EMULATED FOLDER
//
// CROSSFADE is the program, EMULATED the folder of a running "crossfade emulate", FOLDER
// where pictures of the page go. Needs curl and chromium (or CHROMIUM=/path).

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import puppeteer from 'puppeteer-core';
import { CertificateService } from './gen/crossfade/v1/certificate_pb.js';
import { InventoryService } from './gen/crossfade/v1/inventory_pb.js';
import { Rotation_State, RotationService } from './gen/crossfade/v1/rotation_pb.js';
import { byFetch } from './page/watch.mjs';

const [program, emulated, folder] = process.argv.slice(2);
assert.ok(program && emulated && folder, 'want the program, the folder of an emulator, and one for pictures');
const grpc = `127.0.0.1:${process.env.GRPC_PORT ?? 17443}`;
const web = `127.0.0.1:${process.env.WEB_PORT ?? 17445}`;
const api = `http://${web}`;
const watchMethod = `${api}/crossfade.v1.RotationService/WatchRotation`;
mkdirSync(folder, { recursive: true });

// The page is served by its own origin, as a portal's is.
const pages = createServer((req, res) => {
  const file = new URL(req.url, 'http://a').pathname.slice(1);
  if (!['index.html', 'watch.mjs'].includes(file)) return res.writeHead(404).end();
  res.setHeader('content-type', file.endsWith('.mjs') ? 'text/javascript' : 'text/html');
  return res.end(readFileSync(new URL(`./page/${file}`, import.meta.url)));
});
await new Promise((listening) => pages.listen(0, '127.0.0.1', listening));
const origin = `http://127.0.0.1:${pages.address().port}`;

// The service's configuration is the emulator's, with a door for browsers.
const config = path.join(emulated, 'web.yaml');
const plain = readFileSync(path.join(emulated, 'crossfade.yaml'), 'utf8').replace(/^(listen|nats|workers):\n(?: .*\n)+/gm, '');
writeFileSync(config, `${plain}
listen: {grpc: "${grpc}", web: "${web}", ops: "127.0.0.1:0"}
web: {origins: "${origin}"}
workers: {task_slots: 2}
`);

let service;
function serve() {
  service = spawn(program, ['serve', '--config', config, '--data', path.join(folder, 'data')], { stdio: ['ignore', 'ignore', 'pipe'] });
  return new Promise((ready, failed) => {
    let said = '';
    service.stderr.on('data', (b) => {
      said += b;
      if (said.includes('msg="serving browsers"')) ready();
    });
    service.once('exit', () => failed(new Error(`the service ended:\n${said}`)));
  });
}

async function killed() {
  const gone = new Promise((exited) => service.once('exit', exited));
  service.kill('SIGKILL');
  await gone;
}

// ended asks a process to end and waits until it has; one that has not after 15 s is killed
// with all that it started, if it leads a group. A Chromium that hangs while it closes would
// else be waited for without an end.
async function ended(child, ask, group) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((exited) => child.once('exit', exited));
  const late = setTimeout(() => {
    console.log(`${path.basename(child.spawnfile)} did not end within 15 s and is killed`);
    process.kill(group ? -child.pid : child.pid, 'SIGKILL');
  }, 15_000);
  await Promise.all([gone, ask()]);
  clearTimeout(late);
}

// picture keeps what a page shows. One behind another is not drawn.
async function picture(page, name) {
  await page.bringToFront();
  await page.screenshot({ path: path.join(folder, `${name}.png`) });
}

// until waits for what a page says.
const until = (page, what, ...args) => page.waitForFunction(what, { timeout: 90_000, polling: 50 }, ...args);

let browser;
try {
  await serve();
  execFileSync(program, ['--address', grpc, 'tenants', 'import', path.join(emulated, 'tenants.yaml')]);

  console.log('== Connect client, by JSON');
  const transport = createConnectTransport({ baseUrl: api, httpVersion: '1.1', useBinaryFormat: false });
  const rotations = createClient(RotationService, transport);
  const { tenants } = await createClient(InventoryService, transport).listTenants({ pageSize: 3 });
  assert.equal(tenants.length, 3);
  console.log(`tenants: ${tenants.map((t) => t.name).join(', ')} …`);
  const { certificate } = await createClient(CertificateService, transport).uploadCertificate({ content: readFileSync(path.join(emulated, 'new.cer')) });
  const asked = {
    requestId: randomUUID(),
    rotation: {
      displayName: 'web',
      spec: { kind: 'acs-x509', certificate: certificate.name, target: { selection: { case: 'allTenants', value: true } }, reason: 'a check from a browser' },
    },
  };
  const { rotation } = await rotations.createRotation(asked);
  assert.equal((await rotations.createRotation(asked)).rotation.name, rotation.name, 'the same request_id made a second rotation');
  console.log(`created: ${rotation.name}`);
  const refused = await rotations.getRotation({ name: 'rotations/01a20592-57fa-739b-ba13-000000000000' }).then(() => null, (e) => e);
  assert.ok(refused instanceof ConnectError && refused.code === Code.NotFound, String(refused));
  assert.deepEqual(refused.details.map((d) => d.type), ['google.rpc.ErrorInfo', 'google.rpc.ResourceInfo', 'google.rpc.RequestInfo']);
  console.log(`refused: ${Code[refused.code]}, details ${refused.details.map((d) => d.type).join(', ')}`);

  // Watching from Node until it is planned: the page's own code.
  let planned;
  const enough = new AbortController();
  await byFetch(api, rotation.name, {
    signal: enough.signal,
    onMessage: (m) => {
      planned = m.snapshot?.rotation ?? m.rotation ?? planned;
      if (planned?.state === 'STATE_PLANNED') enough.abort();
    },
  }).catch((err) => {
    if (!enough.signal.aborted) throw err;
  });
  console.log(`planned: ${planned.counts.total} tasks, digest ${planned.planDigest.slice(0, 12)}…`);

  console.log('== Chromium');
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  const open = async (by) => {
    const page = await browser.newPage();
    page.on('pageerror', (e) => console.log(`page: ${e}`));
    await page.setViewport({ width: 800, height: 620 });
    await page.goto(`${origin}/index.html?${new URLSearchParams({ api, name: rotation.name, by })}`);
    await until(page, 'seen.snapshots === 1 && seen.tasks.size > 0');
    return page;
  };
  const views = { eventsource: await open('eventsource'), fetch: await open('fetch') };
  // A page of another origin is told nothing.
  const stranger = await browser.newPage();
  await stranger.goto('data:text/html,<title>stranger</title>');
  const got = await stranger.evaluate((u) => fetch(u, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }).then((r) => r.status, (e) => String(e)), `${api}/crossfade.v1.InventoryService/ListTenants`);
  assert.match(String(got), /Failed to fetch/);
  console.log(`a page of another origin: ${got}`);

  await rotations.startRotation({ name: rotation.name, planDigest: planned.planDigest });
  for (const page of Object.values(views)) await until(page, 'seen.changes >= 5');
  await picture(views.eventsource, 'running');
  await killed();
  for (const page of Object.values(views)) await until(page, 'seen.cuts > 0');
  const before = await Promise.all(Object.values(views).map((p) => p.evaluate('seen.changes')));
  await picture(views.eventsource, 'cut');
  console.log(`killed after ${before.join(' and ')} changes`);
  await serve();
  for (const page of Object.values(views)) await until(page, 'seen.ended');
  await picture(views.eventsource, 'ended');

  const listed = new Map();
  for (let pageToken = '';;) {
    const page = await rotations.listRotationTasks({ parent: rotation.name, pageSize: 100, pageToken });
    for (const t of page.tasks) listed.set(t.name, String(t.revision));
    pageToken = page.nextPageToken;
    if (!pageToken) break;
  }
  for (const [by, page] of Object.entries(views)) {
    const seen = await page.evaluate('({ ...seen, tasks: [...seen.tasks].map(([n, t]) => [n, String(t.revision ?? 0)]) })');
    console.log(`${by}: ${seen.state}, ${seen.tasks.length} tasks, ${seen.changes} changes, ${seen.snapshots} snapshot, ${seen.cuts} cuts, ${seen.repeats} repeats`);
    assert.equal(seen.state, 'STATE_SUCCEEDED');
    assert.equal(seen.repeats, 0, 'something was told twice');
    assert.equal(seen.snapshots, 1, 'the watch began anew instead of going on');
    assert.deepEqual(new Map(seen.tasks), listed, 'the page and the list differ: there was a gap');
  }
  const { rotation: ended } = await rotations.getRotation({ name: rotation.name });
  assert.equal(ended.state, Rotation_State.SUCCEEDED);

  console.log('== curl');
  const curl = (...args) => execFileSync('curl', ['-sS', '--fail-with-body', '--max-time', '60', '-N', '-G', watchMethod, '-H', 'accept: text/event-stream', '--data-urlencode', `name=${rotation.name}`, ...args], { encoding: 'utf8' });
  const whole = curl('-d', 'include_tasks=true');
  assert.match(whole, /^retry: 1000\n/);
  assert.match(whole, /"snapshot":/);
  assert.match(whole, /event: end\ndata: {}\n\n$/);
  const last = whole.match(/^id: (.+)$/gm).at(-1).slice(4);
  const rest = curl('-d', 'include_tasks=true', '-H', `last-event-id: ${last}`);
  assert.doesNotMatch(rest, /"snapshot":|"tasks":\{/);
  assert.match(rest, /STATE_SUCCEEDED[\s\S]*event: end\n/);
  console.log(`the whole stream: ${whole.length} bytes; from the last id: ${rest.length} bytes`);
  console.log('ok');
} finally {
  await ended(browser?.process(), () => browser.close(), true);
  pages.close();
  pages.closeAllConnections();
  await ended(service, () => service.kill('SIGTERM'), false);
}
