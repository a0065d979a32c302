import SchemaBuilder from '@pothos/core';
import './access.ts';
import type { Json } from '../domain/chat.ts';
import type { GraphQLContext } from './context.ts';

/** What every file of `types/` adds to. Fields are non-null unless they say otherwise. */
export const builder = new SchemaBuilder<{
  Context: GraphQLContext;
  DefaultFieldNullability: false;
  Scalars: {
    ID: { Input: string; Output: string };
    DateTime: { Input: Date; Output: Date };
    JSON: { Input: Json; Output: Json };
    SafeInt: { Input: number; Output: number };
    Vector: { Input: readonly number[]; Output: readonly number[] };
  };
}>({ plugins: ['access'], defaultFieldNullability: false });

builder.queryType({
  description:
    'What can be looked up. What fails is null, and the others are there all the same; why it failed is in `errors`, with a stable `extensions.code` out of `ErrorCode`.',
});
builder.mutationType({
  description:
    'What can be done. Failures to be expected are among the results, as types that implement `Error`.',
});
builder.subscriptionType({
  description:
    'What can be followed live. A stream never breaks off: it ends by itself, or with an event or an error that says why.',
});
