// Optional: lets the app read SUBSCRIPTIONS or DESTINATIONS from a blob (docs/configuration.md, "Settings in a blob").
// Deploy it to the resource group of the storage account, which should not be the app's own.

@description('Object id of the app\'s managed identity.')
param principalId string

@description('Name of the storage account.')
param accountName string

@description('Name of the container that holds the blobs.')
param containerName string = 'relay-settings'

var blobDataReader = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1')

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: accountName

  resource blobs 'blobServices' existing = {
    name: 'default'

    resource container 'containers' = {
      name: containerName
      properties: { publicAccess: 'None' }
    }
  }
}

resource mayRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account::blobs::container
  name: guid(account::blobs::container.id, principalId, blobDataReader)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: blobDataReader
  }
}

output address string = '${account.properties.primaryEndpoints.blob}${containerName}/'
