import { z } from 'zod'
import { type Answer, type Route, route, WireError } from '../../http/route.ts'
import { addressOf } from './links.ts'
import { Links } from './schemas.ts'

/** Of the microversions this much is spoken; a client that asks for less is answered the same. */
const OLDEST = '3.0'
const NEWEST = '3.65'
const NEWEST_MINOR = 65
const HEADER = 'OpenStack-API-Version'

const Version = z.object({
  id: z.string(),
  status: z.string(),
  version: z.string(),
  min_version: z.string(),
  updated: z.string(),
  links: Links,
  'media-types': z.array(z.object({ base: z.string(), type: z.string() })),
})
const Versions = z.object({ versions: z.array(Version) })

function versions(address: string): z.infer<typeof Versions> {
  return {
    versions: [
      {
        ...{ id: 'v3.0', status: 'CURRENT', version: NEWEST, min_version: OLDEST, updated: '2026-01-01T00:00:00Z' },
        links: [{ rel: 'self', href: `${address}/v3/` }],
        'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.volume+json;version=3' }],
      },
    ],
  }
}

export const listVersions = route({
  operation: 'listVersions',
  method: 'GET',
  path: '/',
  summary: 'Versions of the block API, as its clients look for them',
  access: 'public',
  status: 200,
  result: Versions,
  handle: ({ headers, from }) => ({ status: 200, body: versions(addressOf({ headers, from })) }),
})

export const getVersion = route({
  operation: 'getVersion',
  method: 'GET',
  path: '/v3',
  summary: 'The version that is spoken',
  access: 'public',
  status: 200,
  result: Versions,
  handle: ({ headers, from }) => ({ status: 200, body: versions(addressOf({ headers, from })) }),
})

/** `volume 3.27`, perhaps among those of other services. */
function askedFor(header: string | string[] | undefined): string | undefined {
  const entries = String(header ?? '').split(',')
  return entries.map((entry) => /^\s*volume\s+(\S+)\s*$/.exec(entry)?.[1]).find((version) => version !== undefined)
}

/** @throws WireError 400 for what is no version, 406 for one that is not spoken */
function spoken(header: string | string[] | undefined): string {
  const asked = askedFor(header) ?? OLDEST
  if (asked === 'latest') return NEWEST
  const minor = /^(\d+)\.(\d{1,6})$/.exec(asked)
  if (minor === null) {
    const message = `${HEADER}: must be like 'volume ${NEWEST}'`
    throw new WireError(400, { badRequest: { code: 400, message } })
  }
  if (minor[1] === '3' && Number(minor[2]) <= NEWEST_MINOR) return asked
  const message = `Version ${asked} is not supported by the API. Minimum is ${OLDEST} and maximum is ${NEWEST}.`
  throw new WireError(406, { notAcceptable: { code: 406, message } })
}

/** The route under microversions: it says which one it speaks, or that it does not. */
export function versioned(plain: Route): Route {
  return {
    ...plain,
    errors: [...(plain.errors ?? []), 406],
    async handle(request, core): Promise<Answer> {
      const headers = { [HEADER]: `volume ${spoken(request.headers['openstack-api-version'])}`, Vary: HEADER }
      const answered = await plain.handle(request, core)
      return { ...answered, headers: { ...headers, ...answered.headers } }
    },
  }
}
