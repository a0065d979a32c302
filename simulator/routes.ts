import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { decodeAs, decodeBody, readJson } from './body.ts';
import { decodeEmbedRequest, embed } from './embed.ts';
import { ConnectionGone, Exchange, type Gate } from './exchange.ts';
import { generate, type Server } from './generate.ts';
import { isHostAllowed, isOriginAllowed } from './guard.ts';
import { encodePs, encodeShow, encodeTags, requireModel } from './models.ts';
import { answerRaw } from './raw.ts';
import { decodeChatRequest, decodeGenerateRequest, type GenerateRequest } from './request.ts';
import { parseScript, parseScriptJson, type Script, type Scripts } from './script.ts';
import type { Counters } from './stats.ts';
import { ApiError, encodeJson } from './wire.ts';

/** A request as it arrived. */
export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Decoded JSON; undefined where there was none. */
  readonly body: unknown;
}

export interface Application extends Server {
  readonly scripts: Scripts;
  readonly counters: Counters;
  readonly gate: Gate;
  /** The last requests, oldest first. */
  readonly received: ReceivedRequest[];
  readonly version: string;
  /** Listening on a loopback address, where a foreign `Host` is refused. */
  readonly isLoopback: boolean;
}

const REMEMBERED_REQUESTS = 256;

/** A decoded request to a model: what its own message says to the simulator, and what answers it. */
interface Inference {
  readonly directive?: Script | undefined;
  answer(app: Application, exchange: Exchange, script: Script): Promise<void>;
}
type Route = (app: Application, exchange: Exchange) => Promise<void>;

const INFERENCES: Readonly<Record<string, (body: unknown) => Inference>> = {
  '/api/chat': (body) => generation(decodeChatRequest(body)),
  '/api/generate': (body) => generation(decodeGenerateRequest(body)),
  '/api/embed': (body) => {
    const request = decodeEmbedRequest(body);
    return { answer: (app, exchange, script) => embed(app, exchange, request, script) };
  },
};

function generation(request: GenerateRequest): Inference {
  return {
    directive: request.directive,
    answer: (app, exchange, script) => generate(app, exchange, request, script),
  };
}

const READS: Readonly<Record<string, Route>> = {
  '/': (_app, exchange) => exchange.send(200, 'text/plain; charset=utf-8', 'Ollama is running'),
  '/api/version': (app, exchange) => exchange.sendJson(200, { version: app.version }),
  '/api/tags': (app, exchange) => exchange.sendJson(200, encodeTags(app.models.list())),
  '/api/ps': (app, exchange) => exchange.sendJson(200, encodePs(app.scheduler.loaded())),
  '/simulator/stats': (app, exchange) => exchange.sendJson(200, app.counters.read()),
};

const WRITES: Readonly<Record<string, Route>> = {
  '/api/show': show,
  '/simulator/script': setScripts,
};

/** Paths that answer GET and not HEAD. */
const WITHOUT_HEAD = new Set(['/simulator/stats']);

export function createHandler(app: Application) {
  return (request: IncomingMessage, response: ServerResponse): void => {
    const exchange = new Exchange(request, response, app.gate);
    // Go does not say that a connection is kept, which it is all the same.
    response.removeHeader('Connection');
    void handle(app, exchange).catch((error: unknown) => fail(exchange, error));
  };
}

async function handle(app: Application, exchange: Exchange): Promise<void> {
  const { request } = exchange;
  const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
  const { host, origin } = request.headers;
  await exchange.passGate();
  if (!isOriginAllowed(origin, host) || (app.isLoopback && !isHostAllowed(host))) {
    exchange.response.writeHead(403, { 'Content-Length': 0 }).end();
    return;
  }
  const method = request.method ?? 'GET';
  const reads = method === 'GET' || (method === 'HEAD' && !WITHOUT_HEAD.has(path));
  const read = own(READS, path);
  const write = own(WRITES, path);
  const inference = own(INFERENCES, path);
  if (read !== undefined && reads) {
    remember(app, request, path, undefined);
    return read(app, exchange);
  }
  if (write !== undefined && method === 'POST') return write(app, exchange);
  if (inference !== undefined && method === 'POST') return infer(app, exchange, path, inference);
  remember(app, request, path, undefined);
  const known = read ?? write ?? inference;
  if (known === undefined) return exchange.send(404, 'text/plain', '404 page not found');
  return exchange.send(405, 'text/plain', '405 method not allowed');
}

function own<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

async function infer(
  app: Application,
  exchange: Exchange,
  path: string,
  decode: (body: unknown) => Inference,
): Promise<void> {
  const { request, response } = exchange;
  app.counters.add('requests', 1);
  response.once('close', () => {
    if (response.writableFinished) app.counters.add('served', 1);
    else if (!exchange.cutByScript) app.counters.add('aborted', 1);
  });
  const outer = { ...app.scripts.next(), ...scriptOfHeader(request.headers['x-simulator']) };
  if (outer.resetAt === 'accept') return exchange.reset();
  const body = await readJson(request);
  remember(app, request, path, body);
  const inference = decode(body);
  const script = { ...outer, ...inference.directive };
  if (script.resetAt === 'accept') return exchange.reset();
  if (await answerRaw(exchange, script)) return;
  await inference.answer(app, exchange, script);
}

function scriptOfHeader(header: string | string[] | undefined): Script {
  return typeof header === 'string' ? parseScriptJson(header) : {};
}

async function show(app: Application, exchange: Exchange): Promise<void> {
  const body = await readJson(exchange.request);
  remember(app, exchange.request, '/api/show', body);
  const fields = decodeBody(body, 'ShowRequest');
  const name = decodeAs('string', fields['model'] ?? fields['name'], 'ShowRequest.model') ?? '';
  if (name === '') throw new ApiError(400, 'model is required');
  const model = requireModel(app.models, name, () => {
    const tagged = name.lastIndexOf(':') > name.lastIndexOf('/') ? name : `${name}:latest`;
    return `model '${tagged}' not found`;
  });
  await exchange.sendJson(200, encodeShow(model));
}

/** `{"queue": [script, …], "default": script}`, both optional. */
async function setScripts(app: Application, exchange: Exchange): Promise<void> {
  const body = decodeBody(await readJson(exchange.request), 'SimulatorRequest');
  const { queue = [], default: fallback } = body;
  if (!Array.isArray(queue)) throw new ApiError(400, 'simulator: the queue is a list of scripts');
  app.scripts.push(queue.map(parseScript));
  if (fallback !== undefined) app.scripts.setDefault(parseScript(fallback));
  await exchange.sendJson(200, app.counters.read());
}

function remember(app: Application, request: IncomingMessage, path: string, body: unknown): void {
  if (app.received.length >= REMEMBERED_REQUESTS) app.received.shift();
  app.received.push({ method: request.method ?? '', path, headers: request.headers, body });
}

/** The end of an exchange that threw: an answer where there is still someone and nothing is written yet. */
function fail(exchange: Exchange, error: unknown): void {
  const { response } = exchange;
  if (error instanceof ConnectionGone || exchange.signal.aborted || response.destroyed) return;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const status = error instanceof ApiError ? error.status : 500;
  const message = error instanceof Error ? error.message : 'unknown error';
  const type = exchange.isStream ? 'application/json' : 'application/json; charset=utf-8';
  void exchange.send(status, type, encodeJson({ error: message })).catch(() => undefined);
}
