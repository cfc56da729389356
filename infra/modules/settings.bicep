// The app's settings, by the names of shared/configuration/settings.py. An empty one stands for its default there.
param appName string
param identityClientId string
param storageAccount string
param queue string
param vaultUrl string
param insightsConnectionString string
param clientId string
param publicName string
param subscriptions string
param destinationUrl string

@description('Settings, by name, that replace those below.')
param overrides object

var notificationUrl = 'https://${publicName}/api/notifications'

resource app 'Microsoft.Web/sites@2024-11-01' existing = {
  name: appName
}

resource settings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: app
  name: 'appsettings'
  properties: union(
    {
      AzureWebJobsStorage__accountName: storageAccount
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identityClientId
      AZURE_CLIENT_ID: identityClientId
      APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
      PYTHON_THREADPOOL_THREAD_COUNT: '32'
      NOTIFICATION_QUEUE: queue
      NOTIFICATION_URL: notificationUrl
      GRAPH_TENANT_ID: tenant().tenantId
      GRAPH_CLIENT_ID: clientId
      GRAPH_CLOUD: 'global'
      SUBSCRIPTIONS: subscriptions
      CLIENT_STATE_SECRET: '@Microsoft.KeyVault(SecretUri=${vaultUrl}secrets/client-state-secret/)'
      KEY_STORE: vaultUrl
      KEY_ROTATION_DAYS: ''
      KEY_OVERLAP_HOURS: ''
      DESTINATION_URL: destinationUrl
      DESTINATION_SECRET: '@Microsoft.KeyVault(SecretUri=${vaultUrl}secrets/destination-secret/)'
      DESTINATION_SCOPE: ''
      DELIVERY_HORIZON_HOURS: ''
      RENEW_SCHEDULE: ''
      SWEEP_INTERVAL_HOURS: ''
      LEDGER_DAYS: ''
    },
    overrides
  )
}

output notificationUrl string = notificationUrl
