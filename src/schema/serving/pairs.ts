import { type DocumentNode, type FieldNode, Kind, type SelectionSetNode } from 'graphql';

/**
 * How many pairs of selections in a document make up the same field of the result: `{ a a a { b } a { b } }` has seven,
 * six of `a` and one of `b`. Validation compares each pair (section 5.3.2 of the specification), which makes a short
 * document that repeats itself as costly as a long one.
 *
 * Only for documents whose fields have been counted: fragments are expanded here.
 */
export function countPairs({ definitions }: DocumentNode): number {
  const fragments = new Map<string, SelectionSetNode>();
  for (const definition of definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) {
      fragments.set(definition.name.value, definition.selectionSet);
    }
  }

  /** @param places the selections that are merged into one level of the result. */
  const countIn = (places: readonly SelectionSetNode[]): number => {
    let pairs = 0;
    for (const same of fieldsOf(places, fragments)) {
      const below = same.flatMap(({ selectionSet }) => selectionSet ?? []);
      pairs += (same.length * (same.length - 1)) / 2 + countIn(below);
    }
    return pairs;
  };

  let pairs = 0;
  for (const definition of definitions) {
    if ('selectionSet' in definition) pairs += countIn([definition.selectionSet]);
  }
  return pairs;
}

/** The selections of one level by the field of the result that they make up, each fragment's once. */
function fieldsOf(
  places: readonly SelectionSetNode[],
  fragments: ReadonlyMap<string, SelectionSetNode>,
): Iterable<readonly FieldNode[]> {
  const fields = new Map<string, FieldNode[]>();
  const spread = new Set<string>();
  const collect = ({ selections }: SelectionSetNode) => {
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) {
        const name = (selection.alias ?? selection.name).value;
        const same = fields.get(name);
        if (same) same.push(selection);
        else fields.set(name, [selection]);
      } else if (selection.kind === Kind.INLINE_FRAGMENT) {
        collect(selection.selectionSet);
      } else {
        const { value: name } = selection.name;
        const fragment = spread.has(name) ? undefined : fragments.get(name);
        spread.add(name);
        if (fragment) collect(fragment);
      }
    }
  };
  places.forEach(collect);
  return fields.values();
}
