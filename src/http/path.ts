/** The path of a request's target, as it was sent: whatever is in front of the query. */
export function pathOf(url = ''): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}
