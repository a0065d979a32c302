import type { RequestListener } from 'node:http';
import { type NextFunction, type Request, type Response, Router } from 'express';
import { GatewayError } from '../domain/error.ts';
import { corsHeaders } from '../http/cors.ts';
import { pathOf } from '../http/path.ts';
import { requirePrincipal } from './auth.ts';
import { type BodyHandler, withBody } from './body.ts';
import {
  createLocals,
  type Handler,
  type RestConfig,
  type RestOptions,
  type RestRequest,
  type RestResponse,
} from './context.ts';
import { renderCorsTest } from './cors-test/page.ts';
import { DOCS_POLICY, renderDocs } from './docs-page.ts';
import { createFailure } from './errors.ts';
import { EXPOSED_HEADERS, writeHead } from './headers.ts';
import { createOpenApiDocument } from './openapi.ts';
import { createChatCompletion, type InferenceOptions } from './routes/chat.ts';
import { createCompletion } from './routes/completions.ts';
import { createEmbeddings } from './routes/embeddings.ts';
import { getModel, listModels } from './routes/models.ts';
import { getHealth, getIndex, getMetrics, getReady } from './routes/operations.ts';
import { createResponse } from './routes/responses.ts';
import { sendJson, sendPage } from './send.ts';

/** The OpenAI-compatible API as a request listener. It holds nothing open. */
export function createRestApp(options: RestOptions): RequestListener {
  const router = createRouter(options);
  const { clock } = options;
  return (req, res) => {
    const answer = Object.assign(res, { locals: createLocals(req, res, clock) });
    // No handler uses anything of Express's own classes, and nothing comes out of all of them: errors end in the last.
    router(req as Request, answer as unknown as Response, () => res.destroy());
  };
}

/**
 * Express's router without its application, which gives every message another prototype: that costs as much as all of
 * the routing.
 */
export function createRouter(options: RestOptions): Router {
  const { gateway, config, telemetry } = options;
  // What is authorised is the very path that is dispatched on: no other spelling of it.
  const router = Router({ caseSensitive: true, strict: true });
  const fail = createFailure(telemetry);

  // In this order, outermost first.
  router.use(cors(config.corsOrigins));
  router.use(requirePrincipal(gateway));
  for (const [path, methods] of Object.entries(createRoutes(options))) {
    if (methods.get) router.get(path, methods.get);
    if (methods.post) router.post(path, withBody(config, methods.post, fail));
    router.all(path, refuseMethod(methods));
  }
  router.use(refusePath);
  // Express knows by the four parameters that it is one for errors.
  router.use((thrown: unknown, _req: RestRequest, res: RestResponse, _next: NextFunction) =>
    fail(thrown, res),
  );
  return router;
}

interface Methods {
  readonly get?: Handler;
  readonly post?: BodyHandler;
}

function createRoutes(options: RestOptions): Readonly<Record<string, Methods>> {
  const { gateway, config, clock } = options;
  const inference: InferenceOptions = {
    gateway,
    config,
    clock,
    telemetry: options.telemetry,
    holdBackMs: options.holdBackMs ?? 5000,
    pingMs: options.pingMs ?? 15_000,
    stallMs: options.stallMs ?? 30_000,
  };
  const document = createOpenApiDocument(config.version);
  const page = renderDocs(document);

  return {
    '/v1/chat/completions': { post: createChatCompletion(inference) },
    '/v1/responses': { post: createResponse(inference) },
    '/v1/completions': { post: createCompletion(inference) },
    '/v1/embeddings': { post: createEmbeddings(inference) },
    '/v1/models': { get: listModels(gateway) },
    '/v1/models/*id': { get: getModel(gateway) },
    '/': { get: getIndex(config) },
    '/health': { get: getHealth(config, clock) },
    '/ready': { get: getReady(gateway, config) },
    '/metrics': { get: getMetrics(options.metrics) },
    '/openapi.json': { get: (_req, res) => sendJson(res, document) },
    '/docs': { get: (_req, res) => sendPage(res, page, DOCS_POLICY) },
    ...(!config.production && { '/cors-test': { get: getCorsTest() } }),
  };
}

/** Whatever else becomes of a request: pages of other origins may read it. Preflights end here. */
function cors(origins: RestConfig['corsOrigins']): Handler {
  return (req, res, next) => {
    res.locals.headers.push(...corsHeaders(req, origins, EXPOSED_HEADERS));
    if (req.method !== 'OPTIONS') return next();
    writeHead(res, 204);
    res.end();
  };
}

function getCorsTest(): Handler {
  const { html, policy } = renderCorsTest();
  return (_req, res) => sendPage(res, html, policy);
}

function refuseMethod(methods: Methods): Handler {
  const allowed = [...(methods.get ? ['GET', 'HEAD'] : []), ...(methods.post ? ['POST'] : []), 'OPTIONS'];
  return (req, res) => {
    res.locals.headers.push('Allow', allowed.join(', '));
    throw new GatewayError(
      'method_not_allowed',
      `Not allowed to ${req.method} on ${pathOf(req.url).slice(0, 200)}.`,
    );
  };
}

/** What the official SDKs ask of a response later on: to see it again, to end it, to count it beforehand. */
const STORED_RESPONSES = /^\/v1\/(?:responses|conversations)(?:\/|$)/;

const refusePath: Handler = (req) => {
  const path = pathOf(req.url);
  const advice = STORED_RESPONSES.test(path)
    ? '. Responses are not stored: POST /v1/responses takes the whole conversation each time.'
    : '';
  throw new GatewayError('not_found', `Invalid URL (${req.method} ${path.slice(0, 200)})${advice}`);
};
