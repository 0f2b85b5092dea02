import type { RestoreSnapshot } from '../../core/snapshots.ts'

/**
 * Host prefixes, "outside ZeroFS" in the document's words. It names the first three and "etc."; the others are the
 * directories that the Filesystem Hierarchy Standard reserves for the system. Everything else, `/volumes/…` and
 * `/data.txt` alike, is inside a dataset. A prefix needs something below it: `/tmp` itself is inside, as the document
 * says "starts with `/tmp/`".
 */
const OUTSIDE_PREFIXES = [
  '/tmp/',
  '/home/',
  '/root/',
  '/var/',
  '/etc/',
  '/usr/',
  '/opt/',
  '/mnt/',
  '/srv/',
  '/media/',
  '/run/',
  '/boot/',
  '/dev/',
  '/proc/',
  '/sys/',
  '/bin/',
  '/sbin/',
  '/lib/',
  '/lib32/',
  '/lib64/',
  '/libx32/',
]

/** `//tmp/./x` and `/tmp/x` are one path. `..` stays: the agent refuses it, and folding it here would hide it. */
function withoutEmptySegments(path: string): string {
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.')
  const slash = path.endsWith('/') && segments.length > 0 ? '/' : ''
  return `/${segments.join('/')}${slash}`
}

/**
 * Where a restore is to appear. Naming a `dataset` says that the path is in it, whatever it begins with: the way to
 * restore `/etc/…` of an image of a whole system.
 */
export function resolveDestination(path: string, dataset: string | undefined): RestoreSnapshot['destination'] {
  const plain = withoutEmptySegments(path)
  const outside = dataset === undefined && OUTSIDE_PREFIXES.some((prefix) => plain.startsWith(prefix))
  return { kind: outside ? 'host' : 'dataset', path: plain }
}
