import test from 'ava'
import { ConfigError } from '../shared/config.ts'
import { ControlPlaneConfig } from './config.ts'
import { listenerOptions } from './listener-options.ts'

const BASE = { DATABASE_URL: 'postgres://h/d', NATS_URL: 'nats://h:4222' }
const TLS = { HOLDFAST_TLS_PORT: '8443', HOLDFAST_TLS_CERT_FILE: '/c', HOLDFAST_TLS_KEY_FILE: '/k' }
const options = (given: Record<string, string>) => listenerOptions(ControlPlaneConfig.parse({ ...BASE, ...given }))

test('client certificates are required wherever an authority is named, unless the operator says otherwise', (t) => {
  const files = { cert: '/c', key: '/k', clientCa: '/ca', clientCrl: undefined }
  const given = { ...TLS, HOLDFAST_CLIENT_CA_FILE: '/ca' }
  t.deepEqual(options(given).tls, { ...files, clients: 'required' })
  t.is(options({ ...given, HOLDFAST_CLIENT_CERTIFICATES: 'optional' }).tls?.clients, 'optional')
  t.is(options({}).tls, undefined)
})

test('a header of certificates is believed from named proxies only', (t) => {
  const header = { HOLDFAST_CERTIFICATE_HEADER: 'X-Client-Cert', HOLDFAST_CERTIFICATE_PROXIES: '10.0.0.1, 10.1.0.0/16' }
  const proxies = ['10.0.0.1', '10.1.0.0/16']
  t.deepEqual(options(header).certificateHeader, { name: 'X-Client-Cert', verified: undefined, proxies })
  t.is(options({}).certificateHeader, undefined)
  for (const wrong of [
    { ...header, HOLDFAST_CERTIFICATE_PROXIES: '' },
    { ...header, HOLDFAST_CERTIFICATE_PROXIES: 'proxy' },
    { ...header, HOLDFAST_CERTIFICATE_VERIFIED_HEADER: 'x-client-cert' },
    { HOLDFAST_CERTIFICATE_PROXIES: '10.0.0.1' },
    { HOLDFAST_CERTIFICATE_VERIFIED_HEADER: 'x-verified' },
    { HOLDFAST_TLS_PORT: '8443' },
    { ...TLS, HOLDFAST_CLIENT_CRL_FILE: '/crl' },
  ]) {
    t.throws(() => options(wrong), { instanceOf: ConfigError }, JSON.stringify(wrong))
  }
  for (const name of ['Authorization', 'X-Forwarded-For', 'x_client', 'x client']) {
    t.false(ControlPlaneConfig.safeParse({ ...BASE, ...header, HOLDFAST_CERTIFICATE_HEADER: name }).success, name)
  }
})
