import { FleetError } from '../../../shared/errors.ts'
import type { TargetEntry } from '../../../shared/wire/reads.ts'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import type { Page, PageRequest } from '../../core/page.ts'
import { type HandlerRequest, route, WireError } from '../../http/route.ts'
import { NumberedId } from './numbered-id.ts'
import { presentEntry } from './present-targets.ts'
import { showAddress } from './target-address.ts'
import { AliveView, EntryList, FolderOfTarget, LocalFolder, LocalQuery } from './target-schemas.ts'

/** The document's clients wait no longer. */
const PING_WITHIN_MS = 4_500
const PAGE = 1_000
const ENTRIES_MAX = 10_000
/** An agent may look into each directory, so it answers fewer at a time than it is asked for. */
const PAGES_MAX = 1_000
const UNREACHABLE = 503
/** What is at fault in the request itself; anything else is the target's. */
const OF_THE_REQUEST: ReadonlySet<string> = new Set(['invalid', 'not_found', 'unauthorized', 'forbidden'])

export const pingTarget = route({
  operation: 'pingTarget',
  method: 'GET',
  path: '/api/v1/target/:id/ping',
  summary: 'Test connection of remote target',
  access: 'viewer',
  status: 200,
  params: NumberedId,
  result: AliveView,
  errors: [404, UNREACHABLE],

  async handle({ params, caller }, core) {
    const late = Promise.withResolvers<{ alive: false }>()
    const timer = setTimeout(() => late.resolve({ alive: false }), PING_WITHIN_MS)
    try {
      const { alive } = await Promise.race([core.targets.ping(caller, params.id), late.promise])
      return { status: 200, body: { alive } }
    } finally {
      clearTimeout(timer)
    }
  },
})

/** The whole of a directory, which has no pages here. */
async function everything(list: (page: PageRequest) => Promise<Page<TargetEntry>>): Promise<readonly TargetEntry[]> {
  const entries: TargetEntry[] = []
  let cursor: string | undefined
  for (let pages = 0; pages < PAGES_MAX && entries.length <= ENTRIES_MAX; pages += 1) {
    const page = await list({ limit: PAGE, cursor })
    entries.push(...page.items)
    if (page.nextCursor === null && entries.length <= ENTRIES_MAX) return entries
    cursor = page.nextCursor ?? undefined
  }
  throw new FleetError('too_large', `the directory holds more than ${ENTRIES_MAX} entries`)
}

/** What does not answer is told in the document's words, whatever keeps it from answering. */
function unreachable(error: unknown, what: string): unknown {
  if (!(error instanceof FleetError) || OF_THE_REQUEST.has(error.code) || error.code === 'too_large') return error
  const message = `Service Unavailable: ${what}: ${error.message}`
  return new WireError(UNREACHABLE, { error: { code: UNREACHABLE, message } }, { cause: error })
}

async function dirsOfTarget(core: Core, caller: Caller, { id, path }: { readonly id: string; readonly path: string }) {
  const { config } = await core.targets.get(caller, id)
  const what = config.protocol === 'local' ? config.name : showAddress(config)
  try {
    const entries = await everything((page) => core.targets.browse(caller, id, path, page))
    return { status: 200, body: entries.map((entry) => presentEntry(entry, caller)) } as const
  } catch (error) {
    throw unreachable(error, what)
  }
}

type LocalRequest = Pick<
  HandlerRequest<unknown, { readonly host?: string | undefined }, unknown, Caller>,
  'caller' | 'query'
>

async function localDirs(core: Core, { caller, query }: LocalRequest, path: string) {
  const { host } = query
  try {
    const entries = await everything((page) => core.targets.browseLocal(caller, host, path, page))
    return { status: 200, body: entries.map((entry) => presentEntry(entry, caller)) } as const
  } catch (error) {
    throw unreachable(error, host ?? 'local')
  }
}

const DIRS = {
  method: 'GET',
  summary: 'List folder of target and backup records',
  access: 'viewer',
  status: 200,
  result: EntryList,
  errors: [404, 413, UNREACHABLE],
} as const

export const listTop = route({
  ...DIRS,
  operation: 'listTargetDirs',
  path: '/api/v1/target/:id/dirs',
  params: NumberedId,
  handle: ({ params, caller }, core) => dirsOfTarget(core, caller, { id: params.id, path: '' }),
})

export const listFolder = route({
  ...DIRS,
  operation: 'listTargetDirsBelow',
  path: '/api/v1/target/:id/dirs/*path',
  params: FolderOfTarget,
  handle: ({ params, caller }, core) => dirsOfTarget(core, caller, params),
})

export const listLocalTop = route({
  ...DIRS,
  operation: 'listLocalDirs',
  path: '/api/v1/target/local/dirs',
  summary: 'List local folder of target and backup records',
  query: LocalQuery,
  handle: (request, core) => localDirs(core, request, ''),
})

export const listLocalFolder = route({
  ...DIRS,
  operation: 'listLocalDirsBelow',
  path: '/api/v1/target/local/dirs/*path',
  summary: 'List local folder of target and backup records',
  params: LocalFolder,
  query: LocalQuery,
  handle: (request, core) => localDirs(core, request, request.params.path),
})
