import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  buildSchema,
  type GraphQLInputType,
  getVariableValues,
  isEnumType,
  isInputObjectType,
  isInputType,
  isListType,
  isNonNullType,
  Kind,
  type OperationDefinitionNode,
  parse,
} from 'graphql';
import { createVariablesCheck } from '../../../src/schema/serving/variables.ts';

const schema = buildSchema(/* GraphQL */ `
  enum Role { USER TOOL }
  scalar Any
  input Part @oneOf { text: String, image: Image }
  input Image { url: String!, width: Int = 1, scale: Float }
  input Message { role: Role!, parts: [Part!]!, id: ID, draft: Boolean, meta: Any, after: Message }
  type Query { ask(messages: [Message!]!): String }
`);

function operationOf(text: string): OperationDefinitionNode {
  const [definition] = parse(text).definitions;
  if (definition?.kind !== Kind.OPERATION_DEFINITION) throw new Error('no operation');
  return definition;
}

/** What the variables are refused with. */
function refusalOf(
  declared: string,
  variables: Readonly<Record<string, unknown>>,
  openToView = false,
): string | undefined {
  try {
    createVariablesCheck(schema, openToView)(operationOf(`query(${declared}) { ask }`), variables);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return undefined;
}

/** Values that fit a type, and values that nearly do. */
function valuesOf(type: GraphQLInputType, depth = 0): fc.Arbitrary<unknown> {
  const anything = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(2 ** 31, -(2 ** 31), Number.POSITIVE_INFINITY, 0.5, ''),
  );
  const often = (fitting: fc.Arbitrary<unknown>) => fc.oneof({ weight: 40, arbitrary: fitting }, anything);
  if (isNonNullType(type)) return valuesOf(type.ofType, depth);
  if (isListType(type)) return often(fc.array(valuesOf(type.ofType, depth), { maxLength: 3 }));
  if (isEnumType(type)) return often(fc.constantFrom(...type.getValues().map(({ name }) => name)));
  if (!isInputObjectType(type)) {
    const fitting = {
      String: fc.string(),
      ID: fc.string(),
      Int: fc.integer(),
      Float: fc.double(),
      Boolean: fc.boolean(),
    };
    return often(fitting[type.name as keyof typeof fitting] ?? anything);
  }
  if (depth > 2) return fc.constant(null);
  const fields = Object.values(type.getFields()).map((field) => [
    field.name,
    valuesOf(field.type, depth + 1),
  ]);
  const fitting = fc.record(Object.fromEntries(fields), { requiredKeys: [] });
  return fc.oneof(
    { weight: 40, arbitrary: fitting },
    fitting.map((value) => ({ ...value, more: 1 })),
    anything,
  );
}

function expectSameJudgement(declared: string): void {
  const operation = operationOf(`query(${declared}) { ask }`);
  const [definition] = operation.variableDefinitions ?? [];
  const name = definition?.variable.name.value ?? '';
  const type = schema.getType(declared.replace(/^.*: *\[?(\w+).*$/, '$1'));
  if (!isInputType(type)) throw new Error(`no type of ${declared}`);
  const requireVariables = createVariablesCheck(schema, true);
  let accepted = 0;
  const values = declared.includes('[') ? fc.array(valuesOf(type), { maxLength: 3 }) : valuesOf(type);
  fc.assert(
    fc.property(values, (value) => {
      const { errors } = getVariableValues(schema, operation.variableDefinitions ?? [], { [name]: value });
      if (!errors) accepted++;
      const judge = () => requireVariables(operation, { [name]: value });
      if (errors) expect(judge).toThrow(`Variable "$${name}" has invalid value`);
      else expect(judge).not.toThrow();
    }),
    { numRuns: 200 },
  );
  // Both judgements have been asked for. Of some types few of the values fit.
  expect(accepted).toBeGreaterThan(0);
}

describe('variables are judged as execution would judge them', () => {
  test.each([
    '$m: Message',
    '$m: Message!',
    '$m: [Message!]!',
    '$p: Part!',
    '$i: Image! = { url: "x" }',
    '$r: Role',
    '$r: [Role]',
    '$n: Int!',
    '$n: [Int!]',
    '$f: Float',
    '$b: Boolean',
    '$s: String',
    '$d: ID',
    '$a: Any',
  ])('%s', (declared) => expectSameJudgement(declared));

  test('whether they are given, null, or have a default', () => {
    for (const [declared, variables] of [
      ['$n: Int', {}],
      ['$n: Int', { n: null }],
      ['$n: Int!', {}],
      ['$n: Int!', { n: null }],
      ['$n: Int! = 1', {}],
      ['$n: Int! = 1', { n: null }],
      ['$n: Int = 1', { n: 'x' }],
      ['$constructor: Int!', {}],
      ['$n: Int, $m: Int!', { n: 1, m: 'x' }],
    ] as const) {
      const { variableDefinitions = [] } = operationOf(`query(${declared}) { ask }`);
      const { errors } = getVariableValues(schema, variableDefinitions, variables);
      expect([declared, variables, refusalOf(declared, variables) !== undefined]).toEqual([
        declared,
        variables,
        errors !== undefined,
      ]);
    }
  });
});

describe('what is wrong with them', () => {
  const message = { role: 'USER', parts: [{ text: 'secret' }] };
  test.each([
    [
      { m: [message, { ...message, role: 'secret' }] },
      '$m: [Message!]!',
      'at [1].role: Expected value of enum "Role".',
    ],
    [
      { m: { ...message, parts: [{ text: 7 }] } },
      '$m: Message!',
      'at .parts[0].text: Expected value of type "String".',
    ],
    [{ m: { ...message, secrets: 'x' } }, '$m: Message!', 'not to include unknown field "secrets".'],
    [{ m: { role: 'USER' } }, '$m: Message!', 'to include required field "parts".'],
    [
      { m: { ...message, parts: [{ text: 'secret', image: null }] } },
      '$m: Message!',
      'at .parts[0]: Exactly one field',
    ],
    [{ m: 'secret' }, '$m: Message!', 'Expected value of type "Message" to be an object.'],
  ])('is said with its place and without its value: %j', (variables, declared, expected) => {
    const refusal = refusalOf(declared, variables);
    expect(refusal).toContain(expected);
    expect(refusal?.replace('"secrets"', '')).not.toContain('secret');
  });

  test('names are only told where the schema is open to view', () => {
    for (const variables of [{ m: { ...message, rolle: 1 } }, { m: { ...message, role: 'x' } }]) {
      expect(refusalOf('$m: Message!', variables)).not.toMatch(/\bTOOL\b|draft/);
      expect(refusalOf('$m: Message!', variables, true)).toMatch(/USER, TOOL|role, parts, id, draft/);
    }
  });
});
