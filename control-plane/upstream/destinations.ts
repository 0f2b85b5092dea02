/** What a path is to the block service behind us; undefined: nothing. */
export interface Behind {
  /** As it is logged. */
  readonly route: string
  /** Below the service's version, without a leading slash; of a project's resource, below that project. */
  readonly path: string
  /** Whose project the caller's token names. */
  readonly isOfProject: boolean
  /** The body decides: with this member it is ours. Source: the backup service's document, 1.3. */
  readonly oursWith?: readonly string[]
}

const RESOURCES: Readonly<Record<string, string>> = {
  '/v1/block/snapshot': 'snapshots',
  '/v1/block/volume': 'volumes',
  '/v1/volume': 'volumes',
}

/** @param path of the request, without its query and a slash at its end */
export function behind(method: string, path: string): Behind | undefined {
  if (path === '/v3' || path.startsWith('/v3/')) {
    return { route: '/v3/*', path: path.slice('/v3/'.length), isOfProject: false }
  }
  // The backup service's own resource below /v1/volume.
  if (path === '/v1/volume/backup' || path.startsWith('/v1/volume/backup/')) return undefined
  const [prefix, resource] = Object.entries(RESOURCES).find(([at]) => path === at || path.startsWith(`${at}/`)) ?? []
  if (prefix === undefined || resource === undefined) return undefined
  const rest = path.slice(prefix.length)
  // There it takes two requests only; whatever else is asked is answered by who owns the path.
  if (prefix === '/v1/volume' && !(method === 'POST' && /^(\/[^/]+\/action)?$/.test(rest))) return undefined
  const ours = method === 'POST' && resource === 'volumes' ? oursOf(rest) : undefined
  return {
    route: `${prefix}${rest === '' ? '' : '/*'}`,
    path: `${resource}${rest}`,
    isOfProject: true,
    ...(ours === undefined ? {} : { oursWith: ours }),
  }
}

function oursOf(rest: string): readonly string[] | undefined {
  if (rest === '') return ['volume', 'backup_id']
  return /^\/[^/]+\/action$/.test(rest) ? ['rollback'] : undefined
}

/** Whether the body's JSON has this member; what is no JSON has none. */
export function hasMember(body: Buffer, [name, ...below]: readonly string[]): boolean {
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch {
    return false
  }
  for (const member of name === undefined ? [] : [name, ...below]) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, member)) return false
    // as: looked up a line above
    value = (value as Record<string, unknown>)[member]
  }
  return value !== undefined && value !== null
}

/** Whether another service might take the path for one above it, or split it elsewhere than we do. */
export function isAmbiguous(path: string): boolean {
  return /\/\/|\\|%(2f|5c|00|2e)/i.test(path) || /(^|\/)\.\.?(\/|$)/.test(path)
}
