import { GatewayError } from '../../domain/error.ts';
import type { Model } from '../../domain/model.ts';
import type { ApiKey } from '../../domain/principal.ts';
import type { UsageRecord } from '../../domain/record.ts';
import { builder } from '../builder.ts';
import type { GraphQLContext } from '../context.ts';
import { ArgumentError } from '../errors.ts';
import { decodeNodeId, type NodeType } from '../ids.ts';

type AnyNode = ApiKey | Model | UsageRecord;

const MAX_NODES = 50;

export const Node = builder.interfaceRef<AnyNode>('Node').implement({
  description: 'What has an id of its own and can be looked up by it.',
  resolveType: (value): NodeType =>
    'prefix' in value ? 'ApiKey' : 'requestId' in value ? 'Request' : 'Model',
  fields: (t) => ({
    // Each type makes its own, as an id says what it is the id of.
    id: t.id({ description: 'Unique over all types. Opaque.' }),
  }),
});

const LOADERS: Readonly<Record<NodeType, (id: string, context: GraphQLContext) => Promise<AnyNode>>> = {
  ApiKey: (id, { gateway, principal }) => gateway.administration.getKey(principal, id),
  Model: (id, { gateway, principal }) => gateway.getModel(principal, id),
  Request: (id, { gateway, principal }) => gateway.administration.record(principal, id),
};

/** Failures that mean no more than that the caller has no such thing. */
const ABSENT: readonly string[] = ['not_found', 'model_not_found', 'not_permitted'];

/** What `load` finds; undefined where there is nothing, or nothing that the caller may know of. */
export async function orNothing<T>(load: () => Promise<T>): Promise<T | undefined> {
  try {
    return await load();
  } catch (thrown) {
    if (thrown instanceof GatewayError && ABSENT.includes(thrown.code)) return undefined;
    throw thrown;
  }
}

/** What does not exist, what is another's and what is no id at all: all the same from outside. */
async function loadNode(text: string, context: GraphQLContext): Promise<AnyNode | undefined> {
  const node = decodeNodeId(text);
  return node && (await orNothing(() => LOADERS[node.type](node.id, context)));
}

builder.queryFields((t) => ({
  node: t.field({
    type: Node,
    nullable: true,
    scope: 'authenticated',
    description: 'Whatever has this id. Null where there is nothing that the key may see.',
    args: { id: t.arg.id({ required: true, description: 'The id, as some answer gave it.' }) },
    resolve: (_, { id }, context) => loadNode(id, context),
  }),
  nodes: t.field({
    type: [Node],
    nullable: { list: true, items: true },
    scope: 'authenticated',
    description: 'Whatever has these ids, in their order. Null where there is nothing that the key may see.',
    args: { ids: t.arg.idList({ required: true, description: `At most ${MAX_NODES} ids.` }) },
    resolve: (_, { ids }, context) => {
      if (ids.length > MAX_NODES) {
        throw new ArgumentError('ids', `ids must have at most ${MAX_NODES} entries.`);
      }
      return Promise.all(ids.map((id) => loadNode(id, context)));
    },
  }),
}));
