from migaki.api.calls import adapt as adapt
from migaki.api.calls import apply as apply
from migaki.api.calls import judge as judge
from migaki.api.calls import load as load
from migaki.api.calls import read as read
from migaki.api.calls import simulate as simulate
from migaki.api.calls import train as train
from migaki.api.evaluation import Evaluation as Evaluation
from migaki.api.folder import Folder as Folder
from migaki.api.prediction import Prediction as Prediction
from migaki.api.run import Run as Run
from migaki.core.errors import UserError as UserError
from migaki.nets.published import load_backbone as load_backbone

__version__: str
__all__: list[str]
