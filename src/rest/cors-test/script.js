/** What a web application does with the gateway, one line of the page for each part. */
const CHECKS = [
  ['A request without a key', readHealth],
  ['Preflight of a POST with a key', passPreflight],
  ['Models', listModels],
  ['Errors are readable', readErrors],
  ['Answer in one piece', complete],
  ['Headers are readable', readHeaders],
  ['Answer as a stream', stream],
  ['Stopping in the middle', stopInTheMiddle],
  ['GraphQL query', query],
  ['GraphQL subscription by server-sent events', subscribeByEvents],
  ['GraphQL subscription by WebSocket', subscribeBySocket],
];

/** As long as a model may take to load. */
const GIVE_UP_MS = 120_000;
const QUESTION = 'Count from one to twenty, in words.';
const LONG_QUESTION = 'Count from one to five hundred, in words.';
const MAX_TOKENS = 60;

/** As the browser tells it: that of a file is none. */
const ORIGIN = location.protocol === 'file:' ? 'null' : location.origin;

const SUBSCRIPTION = `subscription($input: ChatCompletionInput!) {
  chatCompletion(input: $input) {
    __typename
    ... on ChatContentDelta { content }
    ... on ChatFailed { error { code message } }
  }
}`;

/** What a check throws where there is nothing to check. */
class Skip extends Error {}

async function readHealth(run) {
  const { status, version, replica } = await jsonOf(await ask(run, '/health', { key: '' }));
  return `${status}: version ${version}, replica ${replica}`;
}

async function passPreflight(run) {
  if (!run.isForeign) throw new Skip('The browser asks for no leave within one origin.');
  const { status } = await ask(run, '/v1/chat/completions', { body: {} });
  return `The browser asked first, and was let through; the empty request was answered with ${status}.`;
}

async function listModels(run) {
  const { data } = await jsonOf(await ask(run, '/v1/models'));
  const chatting = data.filter(
    ({ capabilities }) => !capabilities?.length || capabilities.includes('completion'),
  );
  element('models').replaceChildren(...chatting.map(({ id }) => new Option(id, id)));
  run.model ||= chatting[0]?.id;
  if (!run.model) throw new Error('No model can chat.');
  return `${data.length} models; ${run.model} is asked below.`;
}

async function readErrors(run) {
  const seen = [];
  for (const [expected, path, key] of [
    [401, '/v1/models', 'llmgw_thiskeydoesnotexist0000000000000000000000000'],
    [404, '/v1/there-is-nothing-here', run.key],
  ]) {
    const response = await ask(run, path, { key });
    const { error } = await response.json();
    if (response.status !== expected) throw new Error(`Status ${response.status} and not ${expected}.`);
    if (!error?.message) throw new Error(`The ${expected} has no message.`);
    if (!response.headers.get('x-request-id')) throw new Error(`The ${expected} shows no x-request-id.`);
    seen.push(`${expected}: ${error.message}`);
  }
  return seen.join(' ');
}

async function complete(run) {
  const response = await ask(run, '/v1/chat/completions', { body: chatBody(run, QUESTION) });
  const { choices, usage } = await jsonOf(response);
  run.answerHeaders = response.headers;
  return `${quote(choices[0].message.content)} (${usage?.total_tokens ?? 'unknown'} tokens)`;
}

async function readHeaders({ answerHeaders }) {
  if (!answerHeaders) throw new Skip('There was no answer to read headers of.');
  for (const name of ['x-request-id', 'openai-processing-ms']) {
    if (!answerHeaders.get(name)) throw new Error(`The page cannot read ${name}.`);
  }
  const limits = ['requests', 'tokens', 'concurrent'].flatMap((name) => {
    const limit = answerHeaders.get(`x-ratelimit-limit-${name}`);
    return limit ? [`${answerHeaders.get(`x-ratelimit-remaining-${name}`)} of ${limit} ${name}`] : [];
  });
  const left = limits.length > 0 ? `left are ${limits.join(', ')}` : 'no limits are shown for this key';
  return `Request ${answerHeaders.get('x-request-id')}; ${left}.`;
}

async function stream(run) {
  const startedAt = performance.now();
  const response = await ask(run, '/v1/chat/completions', {
    body: chatBody(run, QUESTION, { stream: true }),
  });
  if (!response.ok) await jsonOf(response);
  let deltas = 0;
  let last;
  const reads = new Set();
  for await (const { data, read } of eventsOf(response)) {
    last = data;
    const delta = data === '[DONE]' ? undefined : JSON.parse(data).choices?.[0]?.delta?.content;
    if (!delta) continue;
    deltas++;
    reads.add(read);
    show(delta);
  }
  const ms = Math.round(performance.now() - startedAt);
  if (last !== '[DONE]') throw new Error('The stream was cut: it did not end in [DONE].');
  if (deltas > 4 && reads.size === 1 && ms > 1000) {
    throw new Error(
      `All ${deltas} pieces came at once after ${ms} ms: something on the way holds them back.`,
    );
  }
  return `${deltas} pieces in ${ms} ms, ended by [DONE].`;
}

async function stopInTheMiddle(run) {
  const leaving = new AbortController();
  const signal = AbortSignal.any([run.signal, leaving.signal]);
  const body = chatBody(run, LONG_QUESTION, { stream: true, max_tokens: 1000 });
  const response = await ask(run, '/v1/chat/completions', { body, signal });
  if (!response.ok) await jsonOf(response);
  let events = 0;
  let stoppedAt;
  try {
    for await (const { data } of eventsOf(response)) {
      if (data === '[DONE]') throw new Error('The answer was over before it could be stopped.');
      if (++events < 3) continue;
      stoppedAt ??= performance.now();
      leaving.abort();
    }
  } catch (error) {
    if (error.name !== 'AbortError' || run.signal.aborted) throw error;
  }
  if (stoppedAt === undefined) throw new Error('The stream was cut before it could be stopped.');
  return `Stopped after ${events} events; it was over ${Math.round(performance.now() - stoppedAt)} ms later.`;
}

async function query(run) {
  const body = { query: '{ viewer { name scopes } }' };
  const { data, errors } = await jsonOf(await ask(run, '/graphql', { body }));
  if (errors) throw new Error(errors[0].message);
  return `The key is called ${quote(data.viewer.name)}, and may ${data.viewer.scopes.length} things.`;
}

async function subscribeByEvents(run) {
  const body = { query: SUBSCRIPTION, variables: chatVariables(run) };
  const headers = { accept: 'text/event-stream' };
  const response = await ask(run, '/graphql', { body, headers });
  if (!response.ok) await jsonOf(response);
  const results = createResultReader();
  for await (const { event, data } of eventsOf(response)) {
    if (event === 'next') results.add(JSON.parse(data));
    if (event === 'complete') return results.finish();
  }
  throw new Error('The stream was cut: it did not end in a complete event.');
}

/** The subprotocol graphql-transport-ws, by hand. */
function subscribeBySocket(run) {
  const { promise, resolve, reject } = Promise.withResolvers();
  const socket = new WebSocket(`${run.base.replace(/^http/, 'ws')}/graphql`, 'graphql-transport-ws');
  const send = (message) => socket.send(JSON.stringify(message));
  const results = createResultReader();
  run.signal.addEventListener('abort', () => reject(run.signal.reason), { once: true });
  socket.onopen = () => send({ type: 'connection_init', payload: { authorization: `Bearer ${run.key}` } });
  socket.onclose = ({ code, reason }) =>
    reject(new Error(`The WebSocket was closed: ${code} ${reason || '(no reason given)'}.`));
  socket.onmessage = ({ data }) => {
    const { type, payload } = JSON.parse(data);
    try {
      if (type === 'connection_ack') {
        const request = { query: SUBSCRIPTION, variables: chatVariables(run) };
        send({ type: 'subscribe', id: '1', payload: request });
      } else if (type === 'ping') send({ type: 'pong' });
      else if (type === 'next') results.add(payload);
      else if (type === 'error') throw new Error(payload[0].message);
      else if (type === 'complete') resolve(results.finish());
    } catch (error) {
      reject(error);
    }
  };
  return promise.finally(() => socket.close());
}

/** Follows the events of one chatCompletion, however they come. */
function createResultReader() {
  let deltas = 0;
  let last;
  return {
    add({ data, errors }) {
      if (errors) throw new Error(errors[0].message);
      last = data.chatCompletion;
      if (last.__typename === 'ChatFailed') throw new Error(last.error.message);
      if (last.__typename !== 'ChatContentDelta') return;
      deltas++;
      show(last.content);
    },
    finish() {
      if (last?.__typename !== 'ChatFinished')
        throw new Error('The subscription ended without ChatFinished.');
      return `${deltas} pieces, ended by ChatFinished.`;
    },
  };
}

function chatBody({ model }, content, rest) {
  return { model, messages: [{ role: 'user', content }], max_tokens: MAX_TOKENS, ...rest };
}

function chatVariables({ model }) {
  const messages = [{ role: 'USER', content: [{ text: QUESTION }] }];
  return { input: { model, messages, maxCompletionTokens: MAX_TOKENS } };
}

/** GET, or POST where there is a body. */
async function ask(run, path, { key = run.key, body, headers, signal = run.signal } = {}) {
  const method = body === undefined ? 'GET' : 'POST';
  const all = new Headers(headers);
  if (key) all.set('authorization', `Bearer ${key}`);
  if (body !== undefined) all.set('content-type', 'application/json');
  const init = { method, headers: all, signal, cache: 'no-store' };
  try {
    return await fetch(run.base + path, body === undefined ? init : { ...init, body: JSON.stringify(body) });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Error(await explain(run));
  }
}

/** A browser does not tell a page why a request failed. */
async function explain({ base, signal }) {
  // Of this one it shows nothing either, but that there was an answer.
  const request = fetch(`${base}/health`, { mode: 'no-cors', cache: 'no-store', signal });
  const answers = await request.then(
    () => true,
    () => false,
  );
  if (!answers) return `Nothing answers at ${base}, or the browser may not go there.`;
  return (
    `The server answers, but the browser keeps the answer from this page: CORS headers that name the origin ` +
    `${ORIGIN} exactly once are missing. The console of the developer tools says more.`
  );
}

async function jsonOf(response) {
  const body = await response.json().catch(() => undefined);
  if (response.ok && body) return body;
  throw new Error(
    `Status ${response.status}: ${body?.error?.message ?? body?.errors?.[0]?.message ?? 'no JSON'}`,
  );
}

/** Server-sent events as they come; `read` counts the pieces that the network brought them in. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let read = 0; ; read++) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split('\n\n');
    rest = frames.pop();
    for (const frame of frames) {
      const fields = new Map(frame.split('\n').map((line) => line.split(/: ?(.*)/s, 2)));
      if (fields.has('data')) yield { event: fields.get('event'), data: fields.get('data'), read };
    }
  }
}

function quote(text) {
  return `“${text.length > 80 ? `${text.slice(0, 80)}…` : text}”`;
}

// The page.

function element(id) {
  return document.getElementById(id);
}

/** The answer of one check at a time. */
let isNewAnswer = false;

function show(text) {
  if (isNewAnswer) element('answer').replaceChildren();
  isNewAnswer = false;
  element('answer').append(text);
}

/** A line that says in words, and in colour besides, how a check stands. */
function createLine(name) {
  const line = document.createElement('li');
  const state = document.createElement('b');
  const detail = document.createElement('span');
  line.append(state, ` ${name}`, detail);
  element('results').append(line);
  return (to, text = '') => {
    line.className = to;
    state.textContent = `${to[0].toUpperCase()}${to.slice(1)}:`;
    detail.textContent = text;
  };
}

/** The gateway by its other name, which is another origin, where this page comes from this machine's. */
function defaultAddress() {
  if (!location.protocol.startsWith('http')) return 'http://localhost:3000';
  const other = { localhost: '127.0.0.1', '127.0.0.1': 'localhost' }[location.hostname];
  return other ? location.origin.replace(location.hostname, other) : location.origin;
}

function describeRelation() {
  const address = URL.parse(element('url').value);
  const isForeign = address !== null && address.origin !== ORIGIN;
  element('relation').textContent = isForeign
    ? `Another origin than this page’s, which is ${ORIGIN}: CORS decides.`
    : 'The origin of this page itself: CORS has no say, so this tests everything but that.';
  return isForeign;
}

async function runAll(stop) {
  const base = element('url').value.replace(/[/?#]+$/, '');
  const run = { base, key: element('key').value.trim(), model: element('model').value.trim() };
  run.isForeign = describeRelation();
  element('results').replaceChildren();
  element('answer').replaceChildren();
  element('summary').textContent = 'Running…';
  const lines = CHECKS.map(([name, check]) => ({ check, tell: createLine(name) }));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { tell } of lines) tell('waiting');
  for (const { check, tell } of lines) {
    tell('running');
    run.signal = AbortSignal.any([stop, AbortSignal.timeout(GIVE_UP_MS)]);
    isNewAnswer = true;
    const [state, detail] = await judge(check, run, stop);
    counts[state]++;
    tell(state, detail);
  }
  const { passed, failed, skipped } = counts;
  element('summary').textContent = `${passed} passed, ${failed} failed, ${skipped} skipped.`;
}

async function judge(check, run, stop) {
  try {
    stop.throwIfAborted();
    return ['passed', await check(run)];
  } catch (error) {
    if (stop.aborted) return ['skipped', 'Stopped.'];
    return [error instanceof Skip ? 'skipped' : 'failed', error.message];
  }
}

let stopping = new AbortController();

element('form').addEventListener('submit', async (event) => {
  // What the form holds must not get into the address of a page.
  event.preventDefault();
  stopping = new AbortController();
  element('run').disabled = true;
  element('stop').disabled = false;
  await runAll(stopping.signal);
  element('run').disabled = false;
  element('stop').disabled = true;
});
element('stop').addEventListener('click', () => stopping.abort(new Error('Stopped.')));
element('url').addEventListener('input', describeRelation);
element('url').value = defaultAddress();
describeRelation();
