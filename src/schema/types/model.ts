import type { Backend, Capability, Model } from '../../domain/model.ts';
import { builder } from '../builder.ts';
import { decodeIdOf, encodeNodeId } from '../ids.ts';
import { Node, orNothing } from './node.ts';

const CapabilityEnum = builder.enumType('ModelCapability', {
  description: 'Something that a model can do.',
  values: {
    COMPLETION: { value: 'completion', description: 'Answers chats.' },
    TOOLS: { value: 'tools', description: 'Calls tools.' },
    THINKING: { value: 'thinking', description: 'Reasons before it answers.' },
    VISION: { value: 'vision', description: 'Sees images.' },
    EMBEDDING: { value: 'embedding', description: 'Turns text into vectors.' },
    INSERT: { value: 'insert', description: 'Fills in the middle of a text.' },
    AUDIO: { value: 'audio', description: 'Hears audio.' },
    IMAGE: { value: 'image', description: 'Makes images.' },
  } as const satisfies Record<Uppercase<Capability>, { value: Capability; description: string }>,
});

interface Placement {
  readonly backend: Backend;
  readonly isLoaded: boolean;
}

const ModelBackend = builder.objectRef<Placement>('ModelBackend').implement({
  description: 'A model server that has the model, as last seen.',
  fields: (t) => ({
    label: t.string({
      description: 'What the server is called here. Never its address.',
      resolve: ({ backend }) => backend.id,
    }),
    isHealthy: t.boolean({
      description: 'Whether it answers.',
      resolve: ({ backend }) => backend.healthy,
    }),
    isLoaded: t.exposeBoolean('isLoaded', {
      description: 'Whether the model is in its memory now, so that it answers without loading.',
    }),
    inFlight: t.int({
      description: "How many of this replica's requests it is working on, whatever their model.",
      resolve: ({ backend }) => backend.inFlight,
    }),
  }),
});

export const ModelType = builder.objectRef<Model>('Model').implement({
  description: 'A model that the gateway serves.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({
      description: 'Unique over all types. Opaque.',
      resolve: ({ id }) => encodeNodeId('Model', id),
    }),
    name: t.exposeString('id', {
      description: 'What requests call the model, with its tag: `llama3.1:8b`.',
    }),
    family: t.exposeString('family', { nullable: true, description: "The architecture's name: `llama`." }),
    parameterSize: t.exposeString('parameterSize', {
      nullable: true,
      description: 'The number of parameters, as published: `8.0B`.',
    }),
    quantization: t.exposeString('quantization', {
      nullable: true,
      description: 'How the weights are stored: `Q4_K_M`.',
    }),
    contextLength: t.expose('contextLength', {
      type: 'SafeInt',
      nullable: true,
      description: 'The longest context that the model was trained for, in tokens.',
    }),
    embeddingLength: t.expose('embeddingLength', {
      type: 'SafeInt',
      nullable: true,
      description: 'How many dimensions its vectors have.',
    }),
    capabilities: t.expose('capabilities', {
      type: [CapabilityEnum],
      description: 'What it can do. Empty where the model server does not tell.',
    }),
    digest: t.exposeString('digest', {
      nullable: true,
      description: "The SHA-256 of its weights' manifest, in hexadecimal.",
    }),
    sizeBytes: t.expose('sizeBytes', {
      type: 'SafeInt',
      nullable: true,
      description: 'How much disk it takes, in bytes.',
    }),
    modifiedAt: t.expose('modifiedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When a model server got this version of it.',
    }),
    backends: t.field({
      type: [ModelBackend],
      description: 'Which model servers have it, and in whose memory it is now.',
      resolve: ({ id }, _args, { gateway, principal }) =>
        gateway
          .listBackends(principal)
          .filter((backend) => backend.models.has(id))
          .map((backend) => ({ backend, isLoaded: backend.loaded.has(id) })),
    }),
  }),
});

builder.queryFields((t) => ({
  models: t.field({
    type: [ModelType],
    nullable: true,
    scope: 'models',
    description: 'The models that the key may use and that some model server has, by name.',
    resolve: (_root, _args, { gateway, principal }) => [...gateway.listModels(principal)],
  }),
  model: t.field({
    type: ModelType,
    nullable: true,
    scope: 'models',
    description: 'One model. Null where there is none that the key may use.',
    args: {
      id: t.arg.id({ required: true, description: "The model's id, or its name as requests have it." }),
    },
    resolve: (_root, { id }, { gateway, principal }) =>
      orNothing(() => gateway.getModel(principal, decodeIdOf('Model', id) ?? id)),
  }),
}));
