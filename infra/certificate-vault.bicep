// The vault of the gateway's TLS certificate: made first, as the gateway cannot be made without the certificate.
// A vault of its own, so that the app, which may read all secrets of its vault, cannot read this key. The gateway's identity
// and its role are made here too: a role takes minutes to become effective, and the gateway reads at once.
param name string
param location string = resourceGroup().location

@description('Object id of the person who brings the certificate.')
param operatorId string

var certificatesOfficer = 'a4417e6f-fecd-4de8-b567-7b0420556985'
var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'
var tags = { application: 'graph-relay', purpose: 'gateway-tls' }

module vault 'modules/vault.bicep' = {
  params: {
    name: '${take(name, 9)}tls${take(uniqueString(resourceGroup().id), 12)}'
    location: location
    tags: tags
  }
}

module identity 'modules/identity.bicep' = {
  params: { name: '${name}-gateway', location: location, tags: { application: 'graph-relay' } }
}

module gatewayMayRead 'modules/vault-role.bicep' = {
  params: {
    vaultName: vault.outputs.name
    principalId: identity.outputs.principalId
    principalType: 'ServicePrincipal'
    roleId: secretsUser
  }
}

module operatorMayBring 'modules/vault-role.bicep' = {
  params: {
    vaultName: vault.outputs.name
    principalId: operatorId
    roleId: certificatesOfficer
  }
}

output name string = vault.outputs.name
