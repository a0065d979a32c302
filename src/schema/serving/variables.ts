import {
  type GraphQLEnumType,
  GraphQLError,
  type GraphQLInputObjectType,
  type GraphQLInputType,
  type GraphQLScalarType,
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isInputType,
  isListType,
  isNonNullType,
  isRequiredInputField,
  type OperationDefinitionNode,
  typeFromAST,
} from 'graphql';
import type { Params } from './params.ts';
import { requestError } from './refusal.ts';

/** What is wrong with a value, and where within it, as `.messages[0].role`. */
interface Fault {
  readonly place: string;
  readonly message: string;
}

/** Finds the first fault of a value, as the specification coerces it (section 3). */
type Check = (value: unknown) => Fault | undefined;

/**
 * Refuses variables that are not what the operation declares. Execution would refuse the same, but prints for each of up to
 * fifty faults all of the value around it, and looks for similar names, however long the name: seconds for half a
 * megabyte.
 *
 * @param openToView whether messages may tell which names there are.
 * @returns a function that throws GraphQLError `BAD_USER_INPUT`, which names the place and not the value.
 */
export function createVariablesCheck(schema: GraphQLSchema, openToView: boolean) {
  const checkOf = createChecks(openToView);

  return function requireVariables(
    { variableDefinitions = [] }: OperationDefinitionNode,
    variables: Params['variables'],
  ): void {
    for (const definition of variableDefinitions) {
      const { value: name } = definition.variable.name;
      const type = typeFromAST(schema, definition.type);
      const value = Object.hasOwn(variables, name) ? variables[name] : undefined;
      if (!isInputType(type) || (value === undefined && definition.defaultValue)) continue;
      const fault = checkOf(type)(value);
      if (!fault) continue;
      const place = fault.place && ` at ${fault.place}`;
      throw requestError(
        'BAD_USER_INPUT',
        `Variable "$${name}" has invalid value${place}: ${fault.message}`,
        {
          nodes: definition,
        },
      );
    }
  };
}

/** Makes the checks of types. Those of objects are kept, as whatever is large consists of them. */
function createChecks(openToView: boolean): (type: GraphQLInputType) => Check {
  const objects = new Map<GraphQLInputObjectType, Check>();

  const checkOf = (type: GraphQLInputType): Check => {
    if (isNonNullType(type)) return nonNull(type, checkOf(type.ofType));
    if (isListType(type)) return nullable(listOf(checkOf(type.ofType)));
    if (isEnumType(type)) return nullable(oneOfEnum(type, openToView));
    if (!isInputObjectType(type)) return nullable(scalar(type));
    const check = objects.get(type) ?? nullable(object(type, checkOf, openToView));
    objects.set(type, check);
    return check;
  };
  return checkOf;
}

function nonNull(type: GraphQLInputType, check: Check): Check {
  return (value) => {
    if (value === undefined) return fault(`Expected a value of non-null type "${type}" to be provided.`);
    if (value === null) return fault(`Expected value of non-null type "${type}" not to be null.`);
    return check(value);
  };
}

function nullable(check: Check): Check {
  return (value) => (value === undefined || value === null ? undefined : check(value));
}

/** A value that is no list stands for a list of itself. */
function listOf(check: Check): Check {
  return (value) => {
    if (!Array.isArray(value)) return check(value);
    for (let index = 0; index < value.length; index++) {
      const found = check(value[index]);
      if (found) return within(`[${index}]`, found);
    }
    return undefined;
  };
}

function object(
  type: GraphQLInputObjectType,
  checkOf: (type: GraphQLInputType) => Check,
  openToView: boolean,
): Check {
  const fields = Object.values(type.getFields());
  const required = fields.filter(isRequiredInputField).map(({ name }) => name);
  const hint = openToView ? ` It has ${fields.map(({ name }) => name).join(', ')}.` : '';
  // Made with the first value, because a type may be a part of itself.
  let checks: ReadonlyMap<string, Check> | undefined;

  return (value) => {
    if (!isObject(value)) return fault(`Expected value of type "${type}" to be an object.`);
    checks ??= new Map(fields.map((field) => [field.name, checkOf(field.type)]));
    const names = Object.keys(value);
    for (const name of names) {
      const check = checks.get(name);
      if (!check) {
        return fault(`Expected value of type "${type}" not to include unknown field "${name}".${hint}`);
      }
      const found = check(value[name]);
      if (found) return within(`.${name}`, found);
    }
    const missing = required.find((name) => value[name] === undefined);
    if (missing) return fault(`Expected value of type "${type}" to include required field "${missing}".`);
    if (type.isOneOf && (names.length !== 1 || value[names[0] ?? ''] === null)) {
      return fault(`Exactly one field of "${type}" must be given, and not be null.`);
    }
    return undefined;
  };
}

function oneOfEnum(type: GraphQLEnumType, openToView: boolean): Check {
  const names = type.getValues().map(({ name }) => name);
  const hint = openToView ? ` There are ${names.join(', ')}.` : '';
  return (value) => {
    if (typeof value === 'string' && names.includes(value)) return undefined;
    return fault(`Expected value of enum "${type}".${hint}`);
  };
}

/** What the language's own scalars accept, of all that JSON can hold. They themselves print what they do not. */
const ACCEPTS: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ['String', (value) => typeof value === 'string'],
  ['Boolean', (value) => typeof value === 'boolean'],
  ['Int', (value) => typeof value === 'number' && value === (value | 0)],
  ['Float', (value) => Number.isFinite(value)],
  ['ID', (value) => typeof value === 'string' || Number.isInteger(value)],
]);

function scalar(type: GraphQLScalarType): Check {
  const refused = fault(`Expected value of type "${type}".`);
  const accepts = ACCEPTS.get(type.name);
  if (accepts) return (value) => (accepts(value) ? undefined : refused);
  return (value) => {
    try {
      return type.coerceInputValue(value) === undefined ? refused : undefined;
    } catch (error) {
      return error instanceof GraphQLError ? fault(error.message) : refused;
    }
  };
}

function fault(message: string): Fault {
  return { place: '', message };
}

function within(place: string, { place: rest, message }: Fault): Fault {
  return { place: place + rest, message };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
