import { z } from 'zod';
import { chatCompletionRequest, completionRequest, embeddingRequest } from './openai/parameters.ts';
import * as answers from './openai/response-schema.ts';
import { responseRequest } from './openai/responses/parameters.ts';
import { response, responseEvent } from './openai/responses/schema.ts';

type Schema = Readonly<Record<string, unknown>>;

export interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly security?: readonly unknown[];
  readonly parameters?: readonly Schema[];
  readonly requestBody?: {
    readonly required: true;
    readonly content: { readonly 'application/json': { readonly schema: Schema; readonly examples: Schema } };
  };
  readonly responses: Readonly<Record<string, Schema>>;
}

export interface OpenApiDocument {
  readonly openapi: '3.1.0';
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly servers: readonly { readonly url: string }[];
  readonly security: readonly Schema[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly securitySchemes: Schema;
    readonly schemas: Readonly<Record<string, Schema>>;
  };
}

const REQUESTS = [chatCompletionRequest, responseRequest, completionRequest, embeddingRequest];
const ANSWERS = [
  answers.chatCompletion,
  answers.chatCompletionChunk,
  response,
  responseEvent,
  answers.completion,
  answers.embeddingList,
  answers.model,
  answers.modelList,
  answers.errorBody,
  answers.health,
  answers.readiness,
];

/** The document of the REST surface, made from the validators that guard it. */
export function createOpenApiDocument(version: string): OpenApiDocument {
  return {
    openapi: '3.1.0',
    info: {
      title: 'LLM gateway',
      version,
      description:
        'An OpenAI-compatible API in front of a fleet of Ollama servers. Null is the same as absent for every ' +
        'optional parameter; parameters that are not listed are ignored, unless they are known and cannot be ' +
        'honoured, which is a 400 that names them.',
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }],
    paths: { ...inferencePaths(), ...modelPaths(), ...operationPaths() },
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      schemas: { ...schemasOf(REQUESTS, 'input'), ...schemasOf(ANSWERS, 'output') },
    },
  };
}

function inferencePaths(): OpenApiDocument['paths'] {
  return {
    '/v1/chat/completions': {
      post: {
        operationId: 'createChatCompletion',
        summary: 'Answer a conversation, at once or as a stream',
        requestBody: requestBody(chatCompletionRequest),
        responses: {
          200: {
            description: 'The answer. With `stream`, server-sent events that end in `data: [DONE]`.',
            content: {
              'application/json': { schema: ref('ChatCompletion') },
              'text/event-stream': { schema: ref('ChatCompletionChunk') },
            },
          },
          ...failures,
        },
      },
    },
    '/v1/responses': {
      post: {
        operationId: 'createResponse',
        summary: 'Answer a conversation in the newer format, without storing it',
        requestBody: requestBody(responseRequest),
        responses: {
          200: {
            description:
              'The answer. With `stream`, server-sent events of which the last is the whole answer.',
            content: {
              'application/json': { schema: ref('Response') },
              'text/event-stream': { schema: ref('ResponseEvent') },
            },
          },
          ...failures,
        },
      },
    },
    '/v1/completions': {
      post: {
        operationId: 'createCompletion',
        summary: 'Answer prompts in the older text format',
        requestBody: requestBody(completionRequest),
        responses: {
          200: {
            description: 'The answers. With `stream`, server-sent events of the same shape.',
            content: {
              'application/json': { schema: ref('Completion') },
              'text/event-stream': { schema: ref('Completion') },
            },
          },
          ...failures,
        },
      },
    },
    '/v1/embeddings': {
      post: {
        operationId: 'createEmbeddings',
        summary: 'Turn texts into vectors',
        requestBody: requestBody(embeddingRequest),
        responses: { 200: json('One vector per input, in their order.', 'EmbeddingList'), ...failures },
      },
    },
  };
}

function modelPaths(): OpenApiDocument['paths'] {
  return {
    '/v1/models': {
      get: {
        operationId: 'listModels',
        summary: 'The models that the key may use',
        responses: { 200: json('All of them, in one page.', 'ModelList'), ...failures },
      },
    },
    '/v1/models/{id}': {
      get: {
        operationId: 'getModel',
        summary: 'One model',
        description: 'The id is the rest of the path; slashes in it may be raw or encoded.',
        parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }],
        responses: { 200: json('The model.', 'Model'), ...failures },
      },
    },
  };
}

function operationPaths(): OpenApiDocument['paths'] {
  const open = { security: [] };
  const text = (description: string, type: string) => ({ description, content: { [type]: {} } });
  return {
    '/health': {
      get: {
        ...open,
        operationId: 'getHealth',
        summary: 'Whether this process answers',
        responses: { 200: json('It does.', 'Health') },
      },
    },
    '/ready': {
      get: {
        ...open,
        operationId: 'getReady',
        summary: 'Whether requests should be sent here',
        responses: { 200: json('They should.', 'Readiness'), 503: json('They should not.', 'Readiness') },
      },
    },
    '/metrics': {
      get: {
        ...open,
        operationId: 'getMetrics',
        summary: 'Metrics for Prometheus',
        responses: { 200: text('In the text format.', 'text/plain') },
      },
    },
    '/': {
      get: {
        ...open,
        operationId: 'getIndex',
        summary: 'Where things are',
        responses: { 200: text('Paths by name.', 'application/json') },
      },
    },
    '/docs': {
      get: {
        ...open,
        operationId: 'getDocs',
        summary: 'This document for people',
        responses: { 200: text('A page.', 'text/html') },
      },
    },
    '/openapi.json': {
      get: {
        ...open,
        operationId: 'getOpenApi',
        summary: 'This document',
        responses: { 200: text('OpenAPI 3.1.', 'application/json') },
      },
    },
  };
}

const failures = { '4XX': json('The request is at fault.', 'Error'), '5XX': json('It is not.', 'Error') };

function json(description: string, schema: string): Schema {
  return { description, content: { 'application/json': { schema: ref(schema) } } };
}

function requestBody(schema: z.ZodType): NonNullable<Operation['requestBody']> {
  const { id = '', examples = [] } = schema.meta() ?? {};
  const named = (Array.isArray(examples) ? examples : []).map((value: unknown, index) => [
    `example${index + 1}`,
    { value },
  ]);
  return {
    required: true,
    content: { 'application/json': { schema: ref(id), examples: Object.fromEntries(named) } },
  };
}

function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

/** Each schema under its own name, with references only among these names. */
function schemasOf(schemas: readonly z.ZodType[], io: 'input' | 'output'): Record<string, Schema> {
  const registry = z.registry<{ id: string }>();
  for (const schema of schemas) registry.add(schema, { id: schema.meta()?.id ?? '' });
  const uri = (id: string) => `#/components/schemas/${id}`;
  const generated = z.toJSONSchema(registry, { io, unrepresentable: 'any', uri });
  // Inside a document a schema is found by its place: an identity of its own would change what references mean.
  const embedded = Object.entries(generated.schemas).map(
    ([name, { $id: _id, $schema: _dialect, ...rest }]) => [name, rest],
  );
  return Object.fromEntries(embedded);
}
