import {
  type DefinitionNode,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isCompositeType,
  isInterfaceType,
  isListType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
  type ValueNode,
  valueFromASTUntyped,
} from 'graphql';
import type { DocumentLimits } from './limits.ts';
import { requestError } from './refusal.ts';

/** What a selection asks for, its fragments expanded. */
interface Figures {
  readonly depth: number;
  readonly fields: number;
  readonly aliases: number;
  readonly directives: number;
  readonly complexity: number;
  readonly vectors: number;
}

export type Variables = Readonly<Record<string, unknown>>;

/** Entries that a list is taken to have, and a page, where nobody says how many. */
const LIST_SIZE = 10;
const PAGE_SIZE = 20;
/** The arguments that say how many entries a field returns. */
const PAGE_ARGUMENTS: readonly string[] = ['first', 'last', 'ids'];

const NOTHING: Figures = { depth: 0, fields: 0, aliases: 0, directives: 0, complexity: 0, vectors: 0 };

/**
 * Refuses an operation that asks for too much. One pass over the document: each fragment is counted once, and once
 * more where a page spreads it, and its figures are reused, so a fragment that expands to millions of fields costs no
 * more than one that does not. The numbers may grow to infinity, which is more than any limit.
 *
 * @param operation where more than one is in the document, all are counted for what validation costs, and this one for
 * what execution costs.
 * @throws GraphQLError `DOCUMENT_TOO_COMPLEX`, naming the limit; `GRAPHQL_VALIDATION_FAILED` for fragments in a circle.
 */
export function requireModestCost(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Variables,
  limits: DocumentLimits,
): void {
  const count = new Counter(schema, document, withDefaults(operation, variables));
  let fields = 0;
  for (const definition of document.definitions) {
    if (definition.kind !== Kind.FRAGMENT_DEFINITION && definition.kind !== Kind.OPERATION_DEFINITION)
      continue;
    const figures = count.definition(definition);
    fields += figures.fields;
    for (const limit of ['depth', 'aliases', 'directives'] as const) {
      requireWithin(limit, figures[limit], limits[limit], definition);
    }
  }
  requireWithin('fields', fields, limits.fields);
  requireWithin('rootFields', count.rootFields(operation.selectionSet), limits.rootFields, operation);
  requireWithin('complexity', count.definition(operation).complexity, limits.complexity, operation);
  requireWithin('vectors', count.definition(operation).vectors, limits.vectors, operation);
}

/** The variables as execution will see them. */
function withDefaults({ variableDefinitions = [] }: OperationDefinitionNode, given: Variables): Variables {
  const defaults = variableDefinitions.flatMap(({ variable, defaultValue }) =>
    defaultValue ? [[variable.name.value, valueFromASTUntyped(defaultValue)] as const] : [],
  );
  return { ...Object.fromEntries(defaults), ...given };
}

const NAMES: Readonly<Record<keyof DocumentLimits, string>> = {
  bytes: 'The document is longer than {} bytes. Long texts belong into variables.',
  lines: 'The document has more than {} lines.',
  tokens: 'The document has more than {} tokens.',
  nesting: 'Brackets are nested deeper than {} levels.',
  depth: 'Selections are nested deeper than {} levels.',
  fields: 'The document selects more than {} fields.',
  pairs: 'The document selects the same fields again and again: more than {} pairs of them.',
  rootFields: 'The operation selects more than {} fields of the root type.',
  aliases: 'An operation or a fragment has more than {} aliases.',
  directives: 'An operation or a fragment has more than {} directives.',
  complexity: 'The operation costs more than {}. Select fewer fields or smaller pages.',
  vectors: 'The operation selects vectors more than {} times.',
};

export function requireWithin(
  limit: keyof DocumentLimits,
  found: number,
  maximum: number,
  node?: DefinitionNode,
): void {
  if (found <= maximum) return;
  throw requestError('DOCUMENT_TOO_COMPLEX', NAMES[limit].replace('{}', String(maximum)), {
    ...(node && { nodes: node }),
    extensions: { limit, maximum },
  });
}

/** Counts the parts of one document, each fragment once for pages and once for everything else. */
class Counter {
  readonly #schema: GraphQLSchema;
  readonly #variables: Variables;
  readonly #fragments = new Map<string, FragmentDefinitionNode>();
  readonly #figures = new Map<DefinitionNode, Figures>();
  readonly #figuresInPages = new Map<DefinitionNode, Figures>();
  readonly #rootFields = new Map<string, number>();
  readonly #underWay = new Set<DefinitionNode>();

  constructor(schema: GraphQLSchema, document: DocumentNode, variables: Variables) {
    this.#schema = schema;
    this.#variables = variables;
    for (const definition of document.definitions) {
      if (definition.kind === Kind.FRAGMENT_DEFINITION) {
        this.#fragments.set(definition.name.value, definition);
      }
    }
  }

  /** @param inPage whether the selections are those of a page, whose list has been counted with it. */
  definition(definition: FragmentDefinitionNode | OperationDefinitionNode, inPage = false): Figures {
    const figures = inPage ? this.#figuresInPages : this.#figures;
    const known = figures.get(definition);
    if (known) return known;
    if (this.#underWay.has(definition)) {
      throw requestError('GRAPHQL_VALIDATION_FAILED', 'A fragment spreads itself.', { nodes: definition });
    }
    this.#underWay.add(definition);
    const type =
      definition.kind === Kind.FRAGMENT_DEFINITION
        ? this.#schema.getType(definition.typeCondition.name.value)
        : this.#schema.getRootType(definition.operation);
    const selected = this.#selections(definition.selectionSet, type ?? undefined, inPage);
    this.#underWay.delete(definition);
    const counted = { ...selected, directives: selected.directives + directivesOf(definition) };
    figures.set(definition, counted);
    return counted;
  }

  /** The fields of the outermost level. Only for selections whose fragments have been found not to be circular. */
  rootFields({ selections }: SelectionSetNode): number {
    let count = 0;
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) count++;
      else if (selection.kind === Kind.INLINE_FRAGMENT) count += this.rootFields(selection.selectionSet);
      else {
        const { value: name } = selection.name;
        const fragment = this.#fragments.get(name);
        const known = this.#rootFields.get(name);
        const fields = known ?? (fragment ? this.rootFields(fragment.selectionSet) : 0);
        this.#rootFields.set(name, fields);
        count += fields;
      }
    }
    return count;
  }

  #selections(
    { selections }: SelectionSetNode,
    type: GraphQLNamedType | undefined,
    inPage: boolean,
  ): Figures {
    let total = NOTHING;
    for (const selection of selections) {
      const figures = this.#selection(selection, type, inPage);
      total = {
        depth: Math.max(total.depth, figures.depth),
        fields: total.fields + figures.fields,
        aliases: total.aliases + figures.aliases,
        directives: total.directives + figures.directives + directivesOf(selection),
        complexity: total.complexity + figures.complexity,
        vectors: total.vectors + figures.vectors,
      };
    }
    return total;
  }

  #selection(node: SelectionNode, type: GraphQLNamedType | undefined, inPage: boolean): Figures {
    if (node.kind === Kind.FIELD) return this.#field(node, type, inPage);
    if (node.kind === Kind.FRAGMENT_SPREAD) {
      const fragment = this.#fragments.get(node.name.value);
      return fragment ? this.definition(fragment, inPage) : NOTHING;
    }
    const condition = node.typeCondition;
    const narrowed = condition ? this.#schema.getType(condition.name.value) : type;
    return this.#selections(node.selectionSet, narrowed, inPage);
  }

  #field(node: FieldNode, parent: GraphQLNamedType | undefined, inPage: boolean): Figures {
    const field = parent && findField(this.#schema, parent, node);
    const page = field && pageSize(node, field, this.#variables);
    const isList = field !== undefined && isListType(getNullableType(field.type));
    // The list in a page is the page itself, and introspection has a depth of its own in validation.
    const isCounted = isList && !inPage && !parent?.name.startsWith('__');
    const entries = page ?? (isCounted ? LIST_SIZE : 1);
    const type = field && getNamedType(field.type);
    const below = node.selectionSet
      ? this.#selections(node.selectionSet, type, page !== undefined && !isList)
      : NOTHING;
    return {
      depth: below.depth + 1,
      fields: below.fields + 1,
      aliases: below.aliases + (node.alias ? 1 : 0),
      directives: below.directives,
      complexity: 1 + entries * below.complexity,
      vectors: below.vectors + (field?.extensions['isVector'] === true ? 1 : 0),
    };
  }
}

function directivesOf(node: { readonly directives?: readonly unknown[] | undefined }): number {
  return node.directives?.length ?? 0;
}

/** Undefined for a field that does not exist, which validation says better. */
function findField(
  schema: GraphQLSchema,
  parent: GraphQLNamedType,
  { name: { value: name } }: FieldNode,
): GraphQLField<unknown, unknown> | undefined {
  if (isCompositeType(parent) && name.startsWith('__')) return schema.getField(parent, name);
  return isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[name] : undefined;
}

/**
 * How many entries a field returns at most; undefined for one that is not told. A field for which the arguments tell in a
 * way of its own has a function for that among its extensions.
 */
function pageSize(
  node: FieldNode,
  field: GraphQLField<unknown, unknown>,
  variables: Variables,
): number | undefined {
  const count = field.extensions['entries'];
  if (typeof count === 'function') return Number(count(argumentsOf(node, variables)));
  if (!field.args.some(({ name }) => PAGE_ARGUMENTS.includes(name))) return undefined;
  const sizes = (node.arguments ?? [])
    .filter(({ name }) => PAGE_ARGUMENTS.includes(name.value))
    .map(({ value }) => sizeOf(value, variables))
    .filter((size) => size !== undefined);
  // A negative size is for the resolver to refuse.
  return sizes.length > 0 ? Math.max(0, ...sizes) : PAGE_SIZE;
}

function argumentsOf({ arguments: given = [] }: FieldNode, variables: Variables): Record<string, unknown> {
  return Object.fromEntries(
    given.map(({ name, value }) => [name.value, valueFromASTUntyped(value, variables)]),
  );
}

function sizeOf(node: ValueNode, variables: Variables): number | undefined {
  if (node.kind === Kind.INT) return Number(node.value);
  if (node.kind === Kind.LIST) return node.values.length;
  const value = node.kind === Kind.VARIABLE ? variables[node.name.value] : undefined;
  if (typeof value === 'number') return value;
  return Array.isArray(value) ? value.length : undefined;
}
