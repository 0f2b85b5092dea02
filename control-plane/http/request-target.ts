/**
 * The path and query of a request line. Proxies may send the absolute form (`GET http://host/path`, RFC 9112 section
 * 3.2.2); what is neither that nor a path becomes `/`, because koa's parser throws for some of it.
 */
export function originForm(target: string | undefined): string {
  if (target?.startsWith('/')) return target
  const rest = /^[a-z][a-z0-9+.-]*:\/\/[^/?]*(.*)$/is.exec(target ?? '')?.[1] ?? ''
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** Path, without a trailing slash, and query. Split by hand: `new URL` throws for some paths. */
export function splitTarget(target: string | undefined): { readonly path: string; readonly search: string } {
  const [path = '', search = ''] = originForm(target).split('?', 2)
  return { path: path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path, search }
}
