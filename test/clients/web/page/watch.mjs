// Watches a rotation from a browser, or from Node. Take the file with you.
//
// Both ways end when the rotation has ended, come back by themselves after a cut, and go
// on from where they stood: nothing is left out, and nothing comes twice.

const method = '/crossfade.v1.RotationService/WatchRotation';

// byEventSource is the shortest way, where no header has to be sent: behind a proxy that
// logs callers in, with client certificates, or where nobody is asked. The browser keeps
// the last id and sends it when it comes back. Returns a function that ends the watch.
export function byEventSource(api, name, { onMessage, onState, onEnd }) {
  let source, cursor, timer;
  const open = () => {
    const query = new URLSearchParams({ name, include_tasks: 'true', ...(cursor && { cursor }) });
    source = new EventSource(`${api}${method}?${query}`, { withCredentials: true });
    source.onopen = () => onState('live');
    source.onmessage = (e) => {
      cursor = e.lastEventId || cursor;
      onMessage(JSON.parse(e.data));
    };
    source.addEventListener('end', () => {
      source.close();
      onEnd();
    });
    source.onerror = (e) => {
      // With data it is the server's last word; without, the line is cut. The browser comes
      // back by itself, but for an answer that it takes for final.
      onState(e.data ? `cut off: ${JSON.parse(e.data).message}` : 'cut off');
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 2000);
    };
  };
  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}

// byFetch reads lines of JSON, and can send a token: `token` is asked at each try, since
// tokens end. Returns when the rotation has ended; throws what trying again will not mend.
export async function byFetch(api, name, { onMessage, onState = () => {}, token, signal, cursor }) {
  for (let pause = 500; ; pause = Math.min(pause * 2, 10_000)) {
    try {
      const headers = { 'content-type': 'application/json', accept: 'application/x-ndjson' };
      if (token) headers.authorization = `Bearer ${await token()}`;
      const body = JSON.stringify({ name, cursor, includeTasks: true });
      const answer = await fetch(api + method, { method: 'POST', headers, body, signal });
      if (!answer.ok) throw Object.assign(new Error(), await answer.json());
      onState('live');
      for await (const m of lines(answer.body)) {
        if (m.error) throw Object.assign(new Error(), m.error);
        cursor = m.cursor;
        pause = 500;
        onMessage(m);
      }
      return; // An end without an error is the end of the rotation.
    } catch (err) {
      const final = ['invalid_argument', 'not_found', 'permission_denied', 'unauthenticated', 'unimplemented'];
      if (signal?.aborted || final.includes(err.code)) throw err;
      onState(`cut off: ${err.message}`);
      await new Promise((again) => setTimeout(again, pause));
    }
  }
}

// lines yields the JSON of each line. A line that was cut is none.
async function* lines(body) {
  let rest = '';
  const text = new TextDecoder();
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      if (rest) throw new Error('the answer was cut within a line');
      return;
    }
    const parts = (rest + text.decode(value, { stream: true })).split('\n');
    rest = parts.pop();
    for (const line of parts) yield JSON.parse(line);
  }
}
