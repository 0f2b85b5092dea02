import { EnrolAnswer, EnrolRequest } from '../../../shared/wire/agent-enrolment.ts'
import { route } from '../../http/route.ts'
import { presentHost } from './present.ts'
import { EnrolmentBody, EnrolmentView, HostView, IdOrName } from './schemas.ts'

export const createEnrolment = route({
  operation: 'createEnrolment',
  method: 'POST',
  path: '/api/v1/hosts/enrolments',
  summary: 'A one-time token by which one agent becomes the host of that name',
  description:
    'Shown this once. `replaces`: there is such a host already; it loses its credentials the moment the token is used. Needs the role admin over the fleet.',
  access: 'admin',
  status: 201,
  body: EnrolmentBody,
  result: EnrolmentView,
  errors: [503],
  withoutSecrets: (body) => ({ ...body, token: '' }),

  async handle({ body, caller }, core) {
    const { name, expires_in_seconds } = body
    const { enrolment, token } = await core.enrolments.create(caller, { name, expiresInSeconds: expires_in_seconds })
    const { id, expiresAt, replaces } = enrolment
    return { status: 201, body: { id, name, token, expires_at: expiresAt.toISOString(), replaces } }
  },
})

export const enrolHost = route({
  operation: 'enrolHost',
  method: 'POST',
  path: '/api/v1/hosts/enrol',
  summary: "An agent's own request: its token and public keys for credentials",
  description:
    'The token is the credential. A repeat with the same keys answers again while the token lasts, so that a lost answer costs nothing; other keys are refused.',
  access: 'public',
  status: 200,
  body: EnrolRequest,
  result: EnrolAnswer,
  errors: [401, 409, 503],

  async handle({ body, from }, core) {
    const { token, name, nats_public_key, seal_public_key } = body
    const keys = { natsPublicKey: nats_public_key, sealPublicKey: Buffer.from(seal_public_key, 'base64') }
    const { host, jwt, expiresAt, natsUrls, ca } = await core.enrolments.redeem({ token, name, ...keys }, from.mark)
    const answer = {
      host: host.name,
      host_id: host.id,
      nats_urls: [...natsUrls],
      jwt,
      expires_at: expiresAt.toISOString(),
    }
    return { status: 200, body: ca === undefined ? answer : { ...answer, ca } }
  },
})

export const rotateHost = route({
  operation: 'rotateHost',
  method: 'POST',
  path: '/api/v1/hosts/:id/rotate',
  summary: "Have a host's agent change to a new key now",
  description:
    'The old key is revoked as soon as the new one has connected. Agents do so by themselves before theirs expires.',
  access: 'admin',
  status: 202,
  params: IdOrName,
  result: HostView,
  errors: [404, 409, 503],

  async handle({ params, caller }, core) {
    return { status: 202, body: presentHost(await core.enrolments.rotate(caller, params.id), caller) }
  },
})

export const revokeHost = route({
  operation: 'revokeHost',
  method: 'POST',
  path: '/api/v1/hosts/:id/revoke',
  summary: "Take a host's credentials away",
  description:
    'Its connection ends at once, and what still comes under its name counts for nothing, until it is enrolled again.',
  access: 'admin',
  status: 200,
  params: IdOrName,
  result: HostView,
  errors: [404, 503],

  async handle({ params, caller }, core) {
    return { status: 200, body: presentHost(await core.enrolments.revoke(caller, params.id), caller) }
  },
})
