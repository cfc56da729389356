// The vault of the gateway's TLS certificate: made first, as the gateway cannot be made without the certificate.
// A vault of its own, so that the app, which may read its vault whole, is not told this key.
param name string = 'graphrelay'
param location string = resourceGroup().location

@description('Object id of the person who brings the certificate.')
param operatorId string

var certificatesOfficer = 'a4417e6f-fecd-4de8-b567-7b0420556985'
var vaultName = '${take(name, 9)}tls${take(uniqueString(resourceGroup().id), 12)}'

module made 'modules/vault.bicep' = {
  name: 'certificate-vault'
  params: {
    name: vaultName
    location: location
    tags: { application: 'graph-relay', purpose: 'gateway-tls' }
  }
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource mayBringCertificate 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, operatorId, certificatesOfficer)
  properties: {
    principalId: operatorId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', certificatesOfficer)
  }
  dependsOn: [made]
}

output name string = made.outputs.name
