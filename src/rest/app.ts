import type { RequestListener } from 'node:http';
import express from 'express';
import { GatewayError } from '../domain/error.ts';
import { requirePrincipal } from './auth.ts';
import { readBody } from './body.ts';
import { createContext, type Handler, type RestOptions } from './context.ts';
import { cors } from './cors.ts';
import { renderCorsTest } from './cors-test/page.ts';
import { DOCS_POLICY, renderDocs } from './docs-page.ts';
import { handleError } from './errors.ts';
import { standardHeaders } from './headers.ts';
import { createOpenApiDocument } from './openapi.ts';
import { createChatCompletion, type InferenceOptions } from './routes/chat.ts';
import { createCompletion } from './routes/completions.ts';
import { createEmbeddings } from './routes/embeddings.ts';
import { getModel, listModels } from './routes/models.ts';
import { getHealth, getIndex, getMetrics, getReady } from './routes/operations.ts';

/** The OpenAI-compatible API as a request listener. It holds nothing open. */
export function createRestApp(options: RestOptions): RequestListener {
  return createApp(options);
}

/** The same, with its router to look into. */
export function createApp(options: RestOptions) {
  const { gateway, config, telemetry, clock } = options;
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  // What is authorised is the very path that is dispatched on: no other spelling of it.
  app.enable('case sensitive routing');
  app.enable('strict routing');
  app.set('query parser', false);

  // In this order, outermost first.
  app.use(createContext(clock));
  app.use(standardHeaders);
  app.use(cors(config.corsOrigins));
  app.use(requirePrincipal(gateway));
  for (const [path, methods] of Object.entries(createRoutes(options))) {
    if (methods.get) app.get(path, methods.get);
    if (methods.post) app.post(path, readBody(config), methods.post);
    app.all(path, refuseMethod(methods));
  }
  app.use(refusePath);
  app.use(handleError(telemetry, clock));
  return app;
}

interface Methods {
  readonly get?: Handler;
  readonly post?: Handler;
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
    '/v1/completions': { post: createCompletion(inference) },
    '/v1/embeddings': { post: createEmbeddings(inference) },
    '/v1/models': { get: listModels({ gateway, clock }) },
    '/v1/models/*id': { get: getModel({ gateway, clock }) },
    '/': { get: getIndex(config) },
    '/health': { get: getHealth(config, clock) },
    '/ready': { get: getReady(gateway, config) },
    '/metrics': { get: getMetrics(options.metrics) },
    '/openapi.json': { get: (_req, res) => res.json(document) },
    '/docs': {
      get: (_req, res) => res.set('Content-Security-Policy', DOCS_POLICY).type('html').send(page),
    },
    ...(!config.production && { '/cors-test': { get: getCorsTest() } }),
  };
}

function getCorsTest(): Handler {
  const { html, policy } = renderCorsTest();
  return (_req, res) => res.set('Content-Security-Policy', policy).type('html').send(html);
}

function refuseMethod(methods: Methods): Handler {
  const allowed = [...(methods.get ? ['GET', 'HEAD'] : []), ...(methods.post ? ['POST'] : []), 'OPTIONS'];
  return (req, res) => {
    res.set('Allow', allowed.join(', '));
    throw new GatewayError(
      'method_not_allowed',
      `Not allowed to ${req.method} on ${req.path.slice(0, 200)}.`,
    );
  };
}

/** Several clients prefer this path to the one that all of them know. */
const RESPONSES = /^\/v1\/responses(?:\/|$)/;
const RESPONSES_ADVICE =
  '. There is no Responses API here: use /v1/chat/completions, which is openai.chat(model) in the AI SDK, ' +
  'setOpenAIAPI("chat_completions") or set_default_openai_api("chat_completions") in the Agents SDK.';

const refusePath: Handler = (req) => {
  const advice = RESPONSES.test(req.path) ? RESPONSES_ADVICE : '';
  throw new GatewayError('not_found', `Invalid URL (${req.method} ${req.path.slice(0, 200)})${advice}`);
};
