import type { GraphQLSchema } from 'graphql';
import { builder } from './builder.ts';
import './types/chat.ts';
import './types/embedding.ts';
import './types/error.ts';
import './types/key.ts';
import './types/model.ts';
import './types/node.ts';
import './types/request.ts';
import './types/scalars.ts';
import './types/usage.ts';
import './types/viewer.ts';

/** The GraphQL API, without a server: each operation is executed with a `GraphQLContext`. */
export function createSchema(): GraphQLSchema {
  return builder.toSchema();
}
