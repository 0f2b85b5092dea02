import type { Logger } from '../shared/logger.ts'
import type { ControlPlaneConfig } from './config.ts'
import type { Credentials } from './core/credentials.ts'
import type { ForeignTokens } from './http/auth.ts'
import type { Forwarder } from './http/forward.ts'
import { createCinder } from './upstream/cinder.ts'
import { createKeystone } from './upstream/keystone.ts'

export interface OpenUpstream {
  readonly forwarder: Forwarder | undefined
  readonly foreignTokens: ForeignTokens | undefined
  close(): void
}

/** The services of an OpenStack behind us, where some are configured. */
export function openUpstream(deps: {
  readonly config: ControlPlaneConfig
  readonly credentials: Pick<Credentials, 'find'>
  readonly groupNamed: (name: string) => Promise<string | undefined>
  readonly logger: Logger
}): OpenUpstream {
  const { config, credentials, groupNamed, logger } = deps
  const { HOLDFAST_CINDER_URL: cinderUrl, HOLDFAST_KEYSTONE_URL: keystoneUrl } = config
  const keystone = keystoneUrl === undefined ? undefined : createKeystone({ url: keystoneUrl, groupNamed })
  const { HOLDFAST_CERTIFICATE_HEADER: name, HOLDFAST_CERTIFICATE_VERIFIED_HEADER: verified } = config
  const privateHeaders = [name, verified].flatMap((header) => header ?? [])
  const cinder =
    cinderUrl === undefined
      ? undefined
      : createCinder({ url: cinderUrl, keystone, credentials, privateHeaders, logger })
  return { forwarder: cinder, foreignTokens: keystone, close: () => cinder?.close() }
}
