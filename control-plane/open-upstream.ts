import type { Logger } from '../shared/logger.ts'
import type { ControlPlaneConfig } from './config.ts'
import type { Credentials } from './core/credentials.ts'
import type { CallersService, LendingService } from './core/lending.ts'
import type { ForeignTokens } from './http/auth.ts'
import type { Forwarder } from './http/forward.ts'
import { createBlockHttp } from './upstream/block-http.ts'
import { createCallerTokens } from './upstream/caller-tokens.ts'
import { createCallersService } from './upstream/callers-service.ts'
import { createCinder } from './upstream/cinder.ts'
import { dial } from './upstream/dial.ts'
import { createKeystone } from './upstream/keystone.ts'
import { createLendingService } from './upstream/lending-service.ts'
import { readServiceCredentials } from './upstream/service-credentials.ts'
import { keystoneTokens, noTokens, type ServiceTokens, unaskedTokens } from './upstream/service-tokens.ts'

const CONNECTIONS = 16
/** Making a connection is answered when it stands. */
const TIMES = { connectMs: 5_000, idleMs: 75_000 }

/** The block service behind us, beside what is forwarded to it. */
export interface Lending {
  /** Under our own credentials. */
  readonly service: LendingService
  readonly asCaller: CallersService
}

export interface OpenUpstream {
  readonly forwarder: Forwarder | undefined
  readonly foreignTokens: ForeignTokens | undefined
  readonly lending: Lending | undefined
  close(): void
}

/** The services of an OpenStack behind us, where some are configured. @throws ConfigError */
export function openUpstream(deps: {
  readonly config: ControlPlaneConfig
  readonly credentials: Pick<Credentials, 'find'>
  readonly groupNamed: (name: string) => Promise<string | undefined>
  readonly logger: Logger
}): OpenUpstream {
  const { config, credentials, groupNamed, logger } = deps
  const { HOLDFAST_CINDER_URL: url, HOLDFAST_KEYSTONE_URL: keystoneUrl } = config
  const keystone = keystoneUrl === undefined ? undefined : createKeystone({ url: keystoneUrl, groupNamed })
  if (url === undefined) {
    return { forwarder: undefined, foreignTokens: keystone, lending: undefined, close: () => undefined }
  }
  const { HOLDFAST_CERTIFICATE_HEADER: name, HOLDFAST_CERTIFICATE_VERIFIED_HEADER: verified } = config
  const privateHeaders = [name, verified].flatMap((header) => header ?? [])
  const tokens = createCallerTokens({ credentials, keystone })
  const cinder = createCinder({ url, tokens, privateHeaders, logger })
  const dialled = dial(url, CONNECTIONS, TIMES)
  const http = createBlockHttp(dialled)
  return {
    forwarder: cinder,
    foreignTokens: keystone,
    lending: {
      service: createLendingService({ http, tokens: serviceTokens(config) }),
      asCaller: createCallersService({ http, tokens }),
    },
    close() {
      cinder.close()
      dialled.close()
    },
  }
}

function serviceTokens(config: ControlPlaneConfig): ServiceTokens {
  const { HOLDFAST_KEYSTONE_URL: url, HOLDFAST_CINDER_CREDENTIALS: path } = config
  if (url === undefined) return unaskedTokens()
  return path === undefined ? noTokens() : keystoneTokens({ url, credentials: readServiceCredentials(path) })
}
